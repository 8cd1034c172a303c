"""Google's descriptions of objects, as ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from runner.model import Bytes
from runner.stores.base import ObjectInfo
from runner.stores.remote.headers import from_base64, google_hashes, length_in, part_in


def info_of(size: object, generation: object, crc32c: str | None) -> ObjectInfo:
    """Read the fields of an object's resource; every object has a CRC-32C, not all have an MD5."""
    checksum = from_base64("crc32c", crc32c) if crc32c else None
    return ObjectInfo(Bytes(int(str(size))), str(generation), checksum)


def info_in(headers: Mapping[str, str]) -> ObjectInfo:
    """Read the headers of an answer that has the object's bytes, all or a range of them."""
    part = part_in(headers)
    size = part.size if part else length_in(headers)
    generation = headers.get("x-goog-generation", "")
    return ObjectInfo(Bytes(size), generation, google_hashes(headers).get("crc32c"))
