"""Which version of each file counts: the one that nothing has changed for a while. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.queues.credentials.tree import Stamp


@dataclass(slots=True)
class _File:
    #: ``None``: it is not there.
    seen: Stamp | None
    since: float
    settled: Stamp | None = None


class Settled:
    """Follows the stamps of files over time.

    A file that is being written, and one that has just gone, keeps its last settled version: a copy
    is not read by halves, and a directory that is replaced is not missed in between.
    """

    def __init__(self, quiet: float) -> None:
        """``quiet``: seconds without a change after which a version counts."""
        self._quiet = quiet
        self._files: dict[str, _File] = {}

    def look(
        self,
        now: float,
        stamps: Mapping[str, Stamp],
        *,
        may_hold: Callable[[str], bool] = lambda _: False,
        is_old: Callable[[Stamp], bool] = lambda _: False,
    ) -> None:
        """Take what is seen at ``now``; ``may_hold`` tells which absence is none for certain.

        A version that ``is_old`` counts at once.
        """
        for path, stamp in stamps.items():
            self._see(path, stamp, now, is_old=is_old(stamp))
        for path in [path for path in self._files if path not in stamps]:
            if may_hold(path):
                continue
            self._see(path, None, now)
            if self._files[path].settled is None and self._files[path].seen is None:
                del self._files[path]

    @property
    def versions(self) -> dict[str, Stamp]:
        """Return what counts, by path."""
        return {path: file.settled for path, file in self._files.items() if file.settled}

    @property
    def waits(self) -> bool:
        """Tell whether a version is about to count."""
        return any(file.seen != file.settled for file in self._files.values())

    def disturb(self, path: str, now: float) -> None:
        """Have a version settle anew: it changed while it was read."""
        file = self._files[path]
        file.settled, file.since = None, now

    def _see(self, path: str, stamp: Stamp | None, now: float, *, is_old: bool = False) -> None:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _File(stamp, now)
        elif file.seen != stamp:
            file.seen, file.since = stamp, now
        if is_old or now - file.since >= self._quiet:
            file.settled = file.seen
