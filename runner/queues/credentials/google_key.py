"""Google's key files: what the cloud console gives for a service account."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.queues.credential import GoogleCredential
from runner.queues.credentials.finding import BadCredential, Found, marked
from runner.redaction import Secret

_KIND = "service_account"
_NEEDED = ("client_email", "private_key", "token_uri")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,100}")
_SECRETS = ("private_key", "private_key_id")


def read(path: str, text: str, origin: str, *, emulator: str = "") -> Found:
    """Return the credential in a key file; with an ``emulator`` a project is all that it needs.

    Raises BadCredential.
    """
    key = _object(text)
    if not emulator:
        _check(key)
    credential = GoogleCredential(
        broker="pubsub",
        scope=_project(key),
        origin=origin,
        fingerprint="",
        key=Secret(text),
        key_file=Path(path),
        emulator=emulator,
    )
    secrets = (Secret(value) for name in _SECRETS if isinstance(value := key.get(name), str))
    return Found(marked(credential), tuple(secrets), frozenset({path}))


def _object(text: str) -> Mapping[str, Any]:
    try:
        key = json.loads(text)
    except ValueError as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadCredential(f"is no valid JSON{where}: copy the key file again, whole") from None
    except RecursionError:
        raise BadCredential("is no key file: it is nested too deep") from None
    if not isinstance(key, dict):
        raise BadCredential("is JSON, but no key file of Google's: that is an object with a type")
    return key


def _check(key: Mapping[str, Any]) -> None:
    kind = str(key.get("type", ""))[:60]
    if kind != _KIND:
        raise BadCredential(
            f"has the type {kind!r}, and a key file has {_KIND!r}; where it is the machine's own "
            "identity, name it in GOOGLE_APPLICATION_CREDENTIALS, with --ambient-credentials google"
        )
    missing = [name for name in _NEEDED if not key.get(name)]
    if missing:
        raise BadCredential(f"lacks {', '.join(missing)}: copy the key file again, whole")
    if not _is_pem(key["private_key"]):
        raise BadCredential("has a private_key that is no PEM block: copy the key file again")


def _is_pem(value: object) -> bool:
    if not isinstance(value, str):
        return False
    text = value.strip()
    return text.startswith("-----BEGIN ") and text.endswith("PRIVATE KEY-----")


def _project(key: Mapping[str, Any]) -> str:
    project = key.get("project_id")
    if not project:
        raise BadCredential("lacks project_id: copy the key file again, whole")
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        raise BadCredential(f"has the project_id {str(project)[:60]!r}, which names no project")
    return project
