"""Bytes to a JSON object, strictly and with bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import msgspec

#: Real requests have 5 to 10 kB; brokers stop at 256 kB (SQS) to 10 MB (Pub/Sub).
MAX_BODY = 16 * 2**20


def parse(body: bytes) -> dict[str, object]:
    """Decode one JSON object. Raises ValueError with a sentence."""
    if len(body) > MAX_BODY:
        raise ValueError(f"it is longer than the {MAX_BODY:,} bytes that a request may have")
    try:
        found = _decode(body)
    except RecursionError:
        raise ValueError("it is nested too deeply for any request") from None
    if not isinstance(found, dict):
        raise ValueError("it is JSON, but not an object")  # noqa: TRY004 - data, not our types
    return cast("dict[str, object]", found)


def _decode(body: bytes) -> object:
    try:
        return cast("object", msgspec.json.decode(body))
    except ValueError as error:
        # Python clients write NaN, and a few tools a byte order mark: the slower decoder knows.
        try:
            return cast("object", json.loads(body.decode("utf-8-sig")))
        except ValueError:
            raise ValueError(f"it is not JSON ({error})") from None


def member(message: Mapping[str, object], name: str) -> object:
    """Return a member by its exact name, else by its name in any case (protocol 2.1)."""
    if name in message:
        return message[name]
    folded = (value for key, value in message.items() if key.lower() == name)
    return next(folded, None)


def has_member(message: Mapping[str, object], name: str) -> bool:
    """Say whether a member is there, be it ``null``."""
    return name in message or any(key.lower() == name for key in message)


def has_surrogates(body: bytes, message: Mapping[str, object]) -> bool:
    """Say whether a string is no Unicode text (half a surrogate pair)."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return False
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
