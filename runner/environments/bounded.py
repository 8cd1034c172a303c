"""The seam to what keeps a build to its share of the machine: disk, memory and processes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

import anyio

Watched = Callable[[Sequence[Path], str, Callable[[str], None]], AbstractContextManager[None]]
"""Directories, the mark of the processes that write there, and who is told what is too much."""

Held = Callable[[str, Callable[[str], None]], AbstractAsyncContextManager[Sequence[str]]]
"""Likewise, without directories; gives the control groups that the build is to enter first."""


def unwatched(*_: object) -> AbstractContextManager[None]:
    """Let builds write what they want."""
    return contextlib.nullcontext()


@contextlib.asynccontextmanager
async def unheld(*_: object) -> AsyncIterator[Sequence[str]]:
    """Let builds use what they want."""
    yield ()


class Excess:
    """Ends what is done in ``scope`` when somebody tells what of it is too much."""

    def __init__(self) -> None:
        self.said = ""
        self.scope = anyio.CancelScope()

    def tell(self, said: str) -> None:
        """The first word counts."""
        self.said = self.said or said
        self.scope.cancel()
