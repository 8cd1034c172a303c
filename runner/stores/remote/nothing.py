"""The body of an object of no bytes, of which no server has a range."""

from __future__ import annotations

from dataclasses import dataclass

from runner.stores.base import ObjectInfo


@dataclass(frozen=True, slots=True)
class Nothing:
    """A ``client.Body`` that is at its end; no connection is open."""

    info: ObjectInfo
    end: int = 0

    def readinto(self, _: memoryview, /) -> int:
        """Tell that this is the end."""
        return 0

    def close(self) -> None:
        """Nothing is open."""
