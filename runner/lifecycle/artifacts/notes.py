"""What is known of each mutable artifact, kept in the workspace over restarts of the daemon."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from runner import own_files
from runner.lifecycle.runs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Note:
    """How an artifact was when it was last the same here and in the store."""

    #: Of its directory; empty when it was never the same.
    signature: str = ""
    #: It was fetched as one ``./name`` member, the form in which clients send one file.
    single: bool = False
    #: The stored object holds anything at all.
    had_content: bool = False


class Notes:
    """Notes by label (or by file, for what is stored file by file)."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.private / "artifacts.json"
        self._notes = _read(self._path)
        self._is_written = True

    def of(self, label: str) -> Note:
        """Return the note; a fresh one where nothing is known."""
        return self._notes.get(label, Note())

    def keep(self, label: str, note: Note, *, later: bool = False) -> None:
        """Remember, on disk whole or not at all; ``later``: there once ``settle`` is called.

        Only a daemon that is killed in between would store it once more.
        """
        self._notes[label] = note
        self._is_written = False
        if not later:
            self.settle()

    def settle(self) -> None:
        """Write what is not written.

        A full disk must not make a failure of what is in the store: only a restart would lose the
        notes.
        """
        if not self._is_written:
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(json.dumps({label: asdict(note) for label, note in self._notes.items()}))
        new.rename(self._path)
        self._is_written = True


def _read(path: Path) -> dict[str, Note]:
    """Without notes everything is stored once more: a cost, no loss."""
    try:
        return own_files.read_as(path, dict[str, Note])
    except (OSError, ValueError):
        return {}
