"""What is known about an entry, in the entry: for the next process, and for people."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from runner import own_files
from runner.model import Bytes

_NAME = "manifest.json"
#: Beside the manifest: what was fetched.
TREE = "tree"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """An entry's own description."""

    #: Where it came from first, without what a signed address holds.
    source: str
    #: Of the object in its store.
    size: Bytes
    #: Of contents, as the fill told.
    bytes: Bytes
    members: int
    #: Seconds since the epoch.
    fetched: float = field(default_factory=time.time)
    #: Another one for each fetch: two entries of one key are never taken for each other.
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Over the whole tree; empty until it was computed.
    digest: str = ""

    def sealed(self, digest: str) -> Manifest:
        """Return it with its digest."""
        return replace(self, digest=digest)

    def write(self, entry: Path) -> None:
        """Put it in place in one step."""
        new = entry / f"{_NAME}.new"
        new.write_text(json.dumps({"version": _VERSION, **asdict(self)}), encoding="utf-8")
        new.replace(entry / _NAME)


def read(entry: Path) -> Manifest | None:
    """Return the manifest; ``None`` where there is none, or something else."""
    try:
        found = own_files.read_as(entry / _NAME, dict[str, Any])
        is_ours = found.pop("version", None) == _VERSION
        return msgspec.convert(found, Manifest) if is_ours else None
    except (OSError, ValueError):
        return None
