"""What a client says meanwhile, and to whom: to nobody, unless somebody listens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Is told how many bytes went."""

    def add(self, count: int, /) -> None:
        """Count bytes that went."""

    def expect(self, total: int, /) -> None:
        """Say how many there will be."""


class Telling:
    """Silence, as a library keeps it; the command line has one that speaks."""

    def note(self, sentence: str) -> None:
        """Tell a person something that is no result."""

    def trouble(self, error: Exception) -> None:
        """Tell a person that something has failed for seconds, and is tried again."""

    def progress(self, what: str) -> AbstractContextManager[Progress]:
        """Show how far a transfer has come."""
        del what
        return nullcontext(_Uncounted())


class _Uncounted:
    def add(self, count: int, /) -> None:
        """Pass over it."""

    def expect(self, total: int, /) -> None:
        """Pass over it."""


SILENT = Telling()
