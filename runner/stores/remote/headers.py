"""What the headers of an answer say of the object. Pure."""

from __future__ import annotations

import base64
import binascii
import email.utils
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from runner.stores.base import Checksum

_RANGE = re.compile(r"\s*bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*", re.IGNORECASE)
#: The lengths of digests that are written in base64, in bytes.
_LENGTHS = {"md5": 16, "crc32c": 4, "sha256": 32}


class Part(NamedTuple):
    """Which bytes of the object a body holds."""

    start: int
    #: Behind the last one.
    end: int
    #: Of the whole object; ``-1`` where it is not told.
    size: int


def part_in(headers: Mapping[str, str]) -> Part | None:
    """Read Content-Range; ``None`` where there is none."""
    found = _RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        return None
    end = int(found[2]) + 1 if found[2] else 0
    return Part(int(found[1] or 0), end, -1 if found[3] == "*" else int(found[3]))


def length_in(headers: Mapping[str, str]) -> int:
    """Return the Content-Length; ``-1`` where there is none, or the body comes in chunks."""
    told = headers.get("content-length", "").strip()
    is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    return int(told) if told.isdecimal() and not is_chunked else -1


def date_in(said: str) -> float | None:
    """Read the header ``Date``, in seconds since the epoch; ``None`` for what is none."""
    try:
        return email.utils.parsedate_to_datetime(said).timestamp()
    except ValueError:
        return None


def moment(text: str) -> float:
    """Read a time of ISO 8601, in seconds since the epoch; 0, long ago, for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def from_base64(algorithm: str, text: str) -> Checksum | None:
    """Read a digest as headers write them; ``None`` for what is none."""
    try:
        digest = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Checksum(algorithm, digest.hex()) if len(digest) == _LENGTHS[algorithm] else None


def google_hashes(headers: Mapping[str, str]) -> dict[str, Checksum]:
    """Read ``x-goog-hash: crc32c=...,md5=...``, which is of the whole object as it is stored."""
    found = {}
    for item in headers.get("x-goog-hash", "").split(","):
        name, _, value = item.strip().partition("=")
        if name in {"md5", "crc32c"} and (checksum := from_base64(name, value)):
            found[name] = checksum
    return found
