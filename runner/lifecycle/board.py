"""The board of attempts under way: what status shows, and where cancel finds its target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import log
from runner.errors import HostFault
from runner.lifecycle.progress import Progress
from runner.lifecycle.record import Record, Records
from runner.lifecycle.stopper import Stopper
from runner.request.units import format_size

_log = log.get_logger(__name__)


@dataclass(eq=False)
class Entry:
    """One attempt under way."""

    record: Record
    stopper: Stopper = field(default_factory=Stopper)
    #: For people: ``fetching``, ``building``, ``running``, ``uploading``, ``settling``.
    stage: str = "fetching"
    #: The captured output, once there is a workspace.
    output: Path | None = None
    #: How far its artifacts have come.
    progress: Progress = field(default_factory=Progress)

    @property
    def fetched(self) -> tuple[int, int] | None:
        """Bytes that are here and bytes in all, while a fetch takes long."""
        return self.progress.now if self.stage == "fetching" else None

    @property
    def phase(self) -> str:
        """The stage for people: ``fetching 1.2 GB of 4.0 GB``."""
        if self.fetched is None:
            return self.stage
        done, total = self.fetched
        return f"{self.stage} {format_size(done)} of {format_size(total)}"

    def note(self, records: Records, **changes: Any) -> None:
        """Change the record of a run under way; a disk that takes no record must not end it."""
        self.record = self.record.but(**changes)
        try:
            records.write(self.record)
        except HostFault as error:
            _log.error("the next daemon will not know of this", trouble=str(error), **changes)


class Board:
    """Everything that this daemon is doing."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def enter(self, entry: Entry) -> None:
        """Show an attempt."""
        self._entries[entry.record.run] = entry

    def leave(self, run: str) -> None:
        """Take an attempt off the board."""
        self._entries.pop(run, None)

    def find(self, key: str) -> Entry | None:
        """Find an attempt by its experiment's key; the latest where there are several."""
        found = [entry for entry in self if entry.record.key == key]
        return found[-1] if found else None
