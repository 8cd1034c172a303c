"""What is known about an entry, in the entry: for the next process, and for people."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

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
    """Return the manifest; ``None`` where it is none, or was torn by a power cut."""
    try:
        found = json.loads((entry / _NAME).read_bytes())
        if found.pop("version") != _VERSION:
            return None
        return Manifest(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
