"""Recognises an encrypted request by its shape (protocol section 2.6)."""

from __future__ import annotations

from collections.abc import Mapping

from runner.errors import BadField, Unsupported
from runner.request.document import member, parse

#: Members of an envelope; one of them says that a broken ``message`` was meant to be one.
_MEMBERS = ("payload", "signature", "fingerprint", "resources_needed", "experiment")


def is_envelope(message: bytes | Mapping[str, object]) -> bool:
    """Say whether this is an object with ``message``, an object with ``payload``."""
    if isinstance(message, bytes):
        try:
            message = parse(message)
        except ValueError:
            return False
    inner = member(message, "message")
    return isinstance(inner, dict) and member(inner, "payload") is not None


def refuse_envelope(message: Mapping[str, object]) -> None:
    """Raise Unsupported for an encrypted request."""
    if is_envelope(message):
        raise Unsupported(
            "the request is sealed, and nothing here has opened it: a daemon with its key does"
        )


def refuse_broken_envelope(message: Mapping[str, object]) -> None:
    """Raise BadField for what was meant as an encrypted request; anything else is not ours."""
    inner = member(message, "message")
    if isinstance(inner, dict) and any(member(inner, name) is not None for name in _MEMBERS):
        raise BadField("message.payload", None, "an encrypted request needs its payload")
