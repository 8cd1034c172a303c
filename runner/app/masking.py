"""Which values of options and credentials the redactor masks, wherever they might be shown."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator

from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Redactor, Secret
from runner.settings import Settings

_SECRET_NAME = re.compile(r"(?i)secret|token|password|private|pass_?phrase|external_id")
#: Has the name of a secret and is an address, which would be masked in sentences about it.
_PUBLIC_NAME = re.compile(r"(?i)_(?:uri|url|file)$")


def redactor_of(settings: Settings) -> Redactor:
    """Return a redactor that masks every secret among the options."""
    redactor = Redactor()
    for field in settings.origins:
        value = getattr(settings, field, None)
        if isinstance(value, Secret) and value:
            redactor.add(value)
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
            yield from _passwords(url)


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


def _passwords(url: str) -> Iterator[str]:
    """Yield the password as it is written, and as it is meant."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    if at and password:
        yield password
        yield urllib.parse.unquote(password)
