"""The queues that turned out to be somebody else's, remembered over restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from runner import log, own_files

_log = log.get_logger(__name__)

#: Far more than anybody has; the file stays small whatever happens.
_MOST = 10_000


class Aside(Collection[str]):
    """Addresses of queues. What cannot be written is remembered until the daemon ends."""

    def __init__(self, file: Path | None = None) -> None:
        """``None``: nothing is kept on disk."""
        self._file = file
        self._addresses = dict.fromkeys(_read(file) if file else ())

    def __contains__(self, address: object) -> bool:
        return address in self._addresses

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, address: str) -> None:
        """Take nothing from this queue any more."""
        self._addresses[address] = None
        while len(self._addresses) > _MOST:
            del self._addresses[next(iter(self._addresses))]
        self._write()

    def discard(self, address: str) -> None:
        """Forget a queue: the operator has named it, or it was deleted."""
        if address in self._addresses:
            del self._addresses[address]
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        part = self._file.with_name(self._file.name + ".new")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(list(self._addresses), file)
            part.replace(self._file)
        except OSError as error:
            _log.warning("not remembered", file=str(self._file), trouble=str(error))


def _read(file: Path) -> list[str]:
    with suppress(OSError, ValueError):
        return own_files.read_as(file, list[str])[:_MOST]
    return []
