"""How far a transfer has come: a bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from runner.cli import show

#: Seconds before anything is shown, and between two lines.
_SHORT, _EVERY = 0.5, 5.0


class Meter:
    """Shows on stderr what it is told; nothing at all when it is over at once.

    Told from any thread, used in one ``with``.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._begun = self._told = clock()
        self._done = self._total = 0
        self._bar: Callable[[int, int], None] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the bar away: something else is shown now."""
        self._bar = None
        self._open.close()

    def add(self, count: int) -> None:
        """Count bytes that went."""
        self.show(self._done + count, self._total)

    def expect(self, total: int) -> None:
        """Say how many there will be."""
        self._total = total

    def show(self, done: int, total: int) -> None:
        """Say how many went, of how many."""
        self._done, self._total = done, total
        if sys.stderr.isatty():
            self._draw()
        elif self._clock() - self._told >= _EVERY:
            self._told = self._clock()
            show.note(f"{self._what}: {show.size(done)} of {show.size(total)}")

    def _draw(self) -> None:
        if self._bar is None:
            if self._clock() - self._begun < _SHORT:
                return
            self._bar = self._open.enter_context(_bar(self._what))
        self._bar(self._done, self._total)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    # Imported late: a pipe and a script shall not wait for it.
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(what, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)
