"""Public keys by queue: a directory with a file for each name, or beginning of names, of queues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from runner import log
from runner.privacy.stamp import Stamp, stamp

_log = log.get_logger(__name__)

K = TypeVar("K")
#: In a secret of Kubernetes' that has to exist before it has keys.
_PLACEHOLDER = "info"
#: A key has some hundred bytes; what is larger is something else.
_LONGEST = 1 << 16


@dataclass(slots=True)
class _Read(Generic[K]):
    stamp: Stamp
    #: The last good one; ``None``: there was none.
    key: K | None


class Keyring(Generic[K]):
    """Looks at its directory each time it is asked, and reads what has changed."""

    def __init__(self, directory: Path, parse: Callable[[str], K]) -> None:
        """``parse`` raises ValueError with a sentence about the file."""
        self.directory = directory
        self._parse = parse
        self._read: dict[str, _Read[K]] = {}
        self._trouble = ""

    def find(self, queue: str) -> K | None:
        """Return the key of the queue: that of its name, else of its longest beginning. Blocks."""
        self._look()
        fitting = [name for name in self._read if queue.startswith(name)]
        return self._read[max(fitting, key=len)].key if fitting else None

    @property
    def names(self) -> tuple[str, ...]:
        """For which queues there are keys. Blocks."""
        self._look()
        return tuple(sorted(self._read))

    def _look(self) -> None:
        found = self._files()
        self._read = {name: read for name, read in self._read.items() if name in found}
        for name, now in found.items():
            before = self._read.get(name)
            if before is None or before.stamp != now:
                self._take(name, now, before)

    def _files(self) -> dict[str, Stamp]:
        """Return the files, links to some included; directories and hidden names are skipped."""
        try:
            entries = [path for path in self.directory.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            self._complain(f"the directory of keys cannot be read: {error}")
            return {}
        self._trouble = ""
        stamps = {path.name: stamp(path) for path in entries if path.is_file()}
        return {name: one for name, one in stamps.items() if one is not None}

    def _take(self, name: str, now: Stamp, before: _Read[K] | None) -> None:
        path = self.directory / name
        try:
            with path.open("rb") as file:
                key = self._parse(file.read(_LONGEST).decode("utf-8").strip())
        except (OSError, ValueError) as error:
            # One that was good stays: it may be in the middle of being written.
            kept = None if before is None else before.key
            if name != _PLACEHOLDER or kept is not None:
                self._read[name] = _Read(now, kept)
                _log.warning("a key is not usable", file=str(path), trouble=str(error))
            return
        self._read[name] = _Read(now, key)

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning(trouble)
