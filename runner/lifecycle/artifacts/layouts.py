"""Where the members of stored artifacts lie, kept in the workspace over restarts of the daemon."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner import own_files
from runner.archives.layout import Placed
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Location
from runner.own_files import Count

#: Archives of more are stored whole each time: their layout would take more memory and more time
#: than it is worth. A layout of so many takes 10 MB on disk, and some 30 in memory for a moment.
MOST_MEMBERS = 100_000


@dataclass(frozen=True, slots=True)
class Known:
    """An archive that we stored."""

    location: Location
    #: Of the object: any other version is not ours, and lies elsewhere.
    version: str
    members: tuple[Placed, ...]


class Layouts:
    """One file for each label; without it the artifact is stored whole: a cost, no loss."""

    def __init__(self, workspace: Workspace) -> None:
        self._directory = workspace.private / "layouts"

    def of(self, label: str, location: Location) -> Known | None:
        """Return what was stored last, if all is known of it."""
        try:
            return _read(own_files.read(self._path(label)), location)
        except (OSError, ValueError):
            return None

    def keep(self, label: str, known: Known) -> None:
        """Remember, whole or not at all; a disk that takes no layout fails nothing."""
        path = self._path(label)
        new = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                file.writelines(_lines(known))
            new.rename(path)
        except OSError:
            self.forget(label)

    def forget(self, label: str) -> None:
        """Store the artifact whole next time."""
        for path in (self._path(label), self._path(label).with_suffix(".new")):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, label: str) -> Path:
        # A label may be as long as a file name.
        name = hashlib.blake2b(label.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        return self._directory / f"{name}.jsonl"


def _lines(known: Known) -> Iterator[bytes]:
    head = {
        "location": str(known.location),
        "version": known.version,
        "members": len(known.members),
    }
    yield json.dumps(head).encode() + b"\n"
    for member in known.members:
        yield json.dumps([member.name, member.seen, member.length]).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Head:
    location: str
    version: str
    members: Count


def _read(data: bytes, location: Location) -> Known | None:
    """Raises ValueError."""
    first, *lines = data.splitlines() or [b""]
    head = own_files.parsed(first, _Head)
    members = tuple(Placed(*own_files.parsed(line, tuple[str, str, Count])) for line in lines)
    is_whole = head.members == len(members)  # no power cut left a part of it
    if not is_whole or head.location != str(location):
        return None
    return Known(location, head.version, members)
