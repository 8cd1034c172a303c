"""Which message of Slack belongs to which experiment, remembered over restarts of the daemon."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from runner import log, own_files

_log = log.get_logger(__name__)

#: More than a machine runs, and than wait for their next attempt; the oldest is forgotten.
_MOST = 1000
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Thread:
    """One experiment's message, to which answers are attached."""

    #: Slack's own name of the channel: only with that a message can be changed.
    channel: str
    #: Slack's name of the message.
    ts: str
    #: Stored so far.
    checkpoints: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """The file."""

    version: int
    threads: dict[str, object]


class Threads:
    """The messages of experiments that have not ended, kept in one small private file."""

    def __init__(self, file: Path | None = None) -> None:
        """``None``: nothing is kept on disk."""
        self._file = file
        self._threads = _read(file) if file else {}

    def __len__(self) -> int:
        return len(self._threads)

    def find(self, experiment: str) -> Thread | None:
        """Return an experiment's message, if it has one."""
        return self._threads.get(experiment)

    def keep(self, experiment: str, thread: Thread) -> None:
        """Remember it."""
        if self._threads.get(experiment) != thread:
            self._threads.pop(experiment, None)
            self._threads[experiment] = thread
            while len(self._threads) > _MOST:
                del self._threads[next(iter(self._threads))]
            self._write()

    def forget(self, experiment: str) -> None:
        """The experiment has ended."""
        if self._threads.pop(experiment, None) is not None:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        threads = {name: asdict(thread) for name, thread in self._threads.items()}
        new = self._file.with_name(self._file.name + ".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": _VERSION, "threads": threads}, file)
            new.replace(self._file)
        except OSError as error:
            _log.warning("not remembered", file=str(self._file), trouble=str(error))


def _read(file: Path) -> dict[str, Thread]:
    """Return what is readable of it: a file of another version, or none, holds nothing."""
    with suppress(OSError, ValueError):
        found = own_files.read_as(file, _Kept)
        if found.version == _VERSION:
            threads = list(found.threads.items())[-_MOST:]
            return {name: one for name, entry in threads if (one := _thread(entry))}
    return {}


def _thread(entry: object) -> Thread | None:
    with suppress(ValueError):
        return msgspec.convert(entry, Thread)
    return None
