"""What ended lately: a short file that status shows, also when no daemon runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from runner import own_files
from runner.lifecycle.day import Day
from runner.own_files import Count, Moment, Seconds

_KEPT = 200
#: Into a pipe that somebody put in its place nothing is written, and nobody waits.
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_FLAGS = {"a": _CREATE | os.O_APPEND, "w": _CREATE | os.O_TRUNC}


@dataclass(frozen=True, slots=True)
class Ending:
    """One settled attempt."""

    key: str
    queue: str
    project: str
    attempt: Count
    cause: str
    exit_code: int | None
    detail: str
    #: What became of the message: ``acked``, ``released`` or ``buried``.
    settled: str
    #: Seconds since the epoch.
    ended: Moment
    #: From the claim to the settling.
    seconds: Seconds
    #: What to do about it, in one sentence.
    advice: str = ""


class History:
    """Appends endings to ``<state-dir>/recent.jsonl`` and keeps the file short."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._endings = list(read(file))
        #: How many ended in each hour.
        self.day = Day()
        for ending in self._endings:
            self.day.add(ending.ended, ending.cause, ending.settled)
        #: Of the file, which daemons before us may have left long.
        self._lines, self._is_cut = _look(file)

    @property
    def endings(self) -> Sequence[Ending]:
        """The latest endings, oldest first."""
        return self._endings

    def add(self, ending: Ending) -> None:
        """Remember an ending. What cannot be written is still shown while the daemon lives."""
        self._endings.append(ending)
        del self._endings[:-_KEPT]
        self.day.add(ending.ended, ending.cause, ending.settled)
        try:
            if self._lines >= 5 * _KEPT:
                self._shorten()
            else:
                with _private(self._file, "a") as file:
                    file.write("\n" * self._is_cut + json.dumps(asdict(ending)) + "\n")
                self._lines, self._is_cut = self._lines + 1, False
        except OSError:
            # A full disk must not turn a finished experiment into a failed one.
            return

    def _shorten(self) -> None:
        temporary = self._file.with_suffix(".new")
        lines = (json.dumps(asdict(ending)) + "\n" for ending in self._endings)
        with _private(temporary, "w") as file:
            file.writelines(lines)
        temporary.rename(self._file)
        self._lines, self._is_cut = len(self._endings), False


def _private(path: Path, mode: str) -> IO[str]:
    """Open a file that is nobody else's to read: keys and reasons are its senders' business."""
    file: IO[str] = os.fdopen(os.open(path, _FLAGS[mode], 0o600), mode, encoding="utf-8")
    os.fchmod(file.fileno(), 0o600)
    return file


def _look(file: Path) -> tuple[int, bool]:
    """Count the lines, and tell whether a full disk cut the last one short."""
    try:
        data = own_files.read(file)
    except OSError:
        return 0, False
    return data.count(b"\n"), bool(data) and not data.endswith(b"\n")


def read(file: Path) -> Sequence[Ending]:
    """Read the endings that a daemon wrote, oldest first; lines that are none are skipped."""
    endings: list[Ending] = []
    try:
        lines = own_files.read(file).splitlines()
    except OSError:
        return endings
    for line in lines[-_KEPT:]:
        with suppress(ValueError):  # cut short, or a power cut left something else
            endings.append(own_files.parsed(line, Ending))
    return endings
