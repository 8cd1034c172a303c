"""Keys for object stores, in the three spellings that clients use (protocol section 2.2)."""

from __future__ import annotations

from runner.errors import BadField
from runner.model import Credentials
from runner.redaction import Secret
from runner.request.fields import Fields


def decode_credentials(owner: Fields) -> Credentials | None:
    """Read ``owner.credentials``; ``None`` where there are none, all empty for anonymous access.

    Errors name the member and never show its value.
    """
    if owner.raw("credentials") is None:
        return None
    plain = _child(owner, "credentials")
    if plain.raw("aws") is not None:
        return _aws(_child(plain, "aws"))
    if plain.raw("plain") is not None:
        login = _child(plain, "plain")
        return Credentials(_text(login, "user"), Secret(_text(login, "password")))
    if plain.raw("jwt") is not None:
        return Credentials(session_token=Secret(_text(_child(plain, "jwt"), "token")))
    return None


def _aws(keys: Fields) -> Credentials:
    return Credentials(
        access_key=_text(keys, "access_key"),
        secret_key=Secret(_text(keys, "secret_access_key") or _text(keys, "secret_key")),
        session_token=Secret(_text(keys, "session_token")),
        region=_text(keys, "region") or None,
        profile=_text(keys, "profile") or None,
    )


def _child(owner: Fields, name: str) -> Fields:
    if not isinstance(owner.raw(name), dict):
        raise BadField(owner.at(name), Secret(), "write a JSON object")
    return owner.child(name)


def _text(keys: Fields, name: str) -> str:
    value = keys.raw(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadField(keys.at(name), Secret(), "write a string")
    return value
