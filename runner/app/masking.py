"""Which values of options and credentials the redactor masks, wherever they might be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from runner.model import NOTHING
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Redactor, Secret
from runner.redaction.names import of_address, of_document, of_variables
from runner.settings import Settings

_SECRET_NAME = re.compile(r"(?i)secret|token|password|private|pass_?phrase|external_id")
#: Has the name of a secret and is an address, which would be masked in sentences about it.
_PUBLIC_NAME = re.compile(r"(?i)_(?:uri|url|file)$")

#: Shorter paths are no secrets: ``/hook``.
_LONG = 12


def redactor_of(settings: Settings, environ: Mapping[str, str] = NOTHING) -> Redactor:
    """Return a redactor that masks every secret among the options, and in the daemon's variables.

    Of addresses their passwords; what programs may be sent to with a secret path, that too.
    """
    redactor = Redactor()
    for field in settings.origins:
        value = getattr(settings, field, None)
        if isinstance(value, Secret) and value:
            redactor.add(value, *_of_url(value.reveal()))
    places = (settings.index_url, *settings.extra_index_url, *settings.find_links)
    for place in (*places, settings.otlp_endpoint):
        redactor.add(*of_address(place))
    redactor.add(*of_variables(environ.items()))
    if settings.google_store_credentials:
        redactor.add(*_of_key_file(settings.google_store_credentials))
    return redactor


def mask(redactor: Redactor, credential: Credential) -> None:
    """Have everything secret in ``credential`` masked from now on."""
    redactor.add(*(value for value in _values(credential) if value))


def _values(credential: Credential) -> Iterator[Secret | str]:
    if isinstance(credential, GoogleCredential):
        yield from _members(credential.key.reveal())
    elif isinstance(credential, AwsCredential):
        yield credential.secret_key
        yield credential.session_token
        yield from (value for name, value in credential.profile.items() if _is_secret(name))
    elif isinstance(credential, AmqpCredential):
        for url in (credential.url.reveal(), credential.management_url.reveal()):
            yield url
            yield from of_address(url)


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _PUBLIC_NAME.search(name)


def _members(key: str) -> Iterator[str]:
    """Yield the secret members of a key file, which is one flat object."""
    try:
        found = json.loads(key) if key else {}
    except ValueError:
        yield key
        return
    if isinstance(found, dict):
        yield from (str(value) for name, value in found.items() if _is_secret(name))


def _of_key_file(path: Path) -> Iterator[str]:
    with suppress(OSError, ValueError):
        text = path.read_text()
        yield from _members(text)
        yield from of_document(text)


def _of_url(text: str) -> Iterator[str]:
    """Yield what of a secret address is one without its host: libraries name the parts apart."""
    yield from of_address(text)
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme in {"http", "https"}:
            words = (parts.path, parts.query, *parts.path.split("/"))
            yield from (one for one in words if len(one) >= _LONG)
