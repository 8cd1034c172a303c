"""Google's descriptions of objects, as ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.model import Bytes, Location
from runner.stores.base import Entry, ObjectInfo
from runner.stores.remote.client import Page
from runner.stores.remote.headers import (
    date_in,
    from_base64,
    google_hashes,
    length_in,
    moment,
    part_in,
)


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


def page_in(document: Mapping[str, Any], folder: Location, said: str) -> Page:
    """Read one page of a list; ``said``: the header ``Date``."""
    entries = [
        Entry(
            replace(folder, key=str(one["name"])),
            Bytes(int(one.get("size", 0))),
            moment(str(one["updated"])),
        )
        for one in document.get("items", ())
    ]
    return Page(entries, date_in(said), str(document.get("nextPageToken", "")))
