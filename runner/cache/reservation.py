"""Bytes that one process may use: for an entry that it fills, or one that it removes."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Protocol, Self

from runner import own_files
from runner.cache.base import NoRoom
from runner.cache.locks import ALONE, Lock
from runner.cache.places import Places
from runner.cache.removing import remove

#: The end of the name of one whose directory is only to be removed.
GONE = ".gone"


class NoRoomEver(NoRoom):
    """The cache could not hold it if it were empty."""


class _Growing(Protocol):
    def grow(self, reservation: Reservation, missing: int, /) -> None: ...


class _Reserved:
    """A directory in staging, and the file that says how many bytes it may hold."""

    def __init__(self, places: Places, name: str) -> None:
        self.folder = places.staging / name
        self.lock = Lock(places.reservations / name)

    def set(self, amount: int) -> None:
        """Write the number; only with the books in hand."""
        self.lock.write(number(amount))

    def _remove(self) -> None:
        try:
            remove(self.folder)
            self.lock.remove()
        finally:
            self.lock.close()


class Reservation(_Reserved):
    """Room for what is being fetched. Used by one thread at a time."""

    def __init__(self, places: Places, room: _Growing) -> None:
        super().__init__(places, secrets.token_hex(8))
        self._room = room
        self.amount = 0
        self._taken = 0

    def set(self, amount: int) -> None:
        """Write the number; only with the books in hand."""
        super().set(amount)
        self.amount = amount

    def take(self, amount: int) -> None:
        """Have ``amount`` more bytes, which are then written. Raises NoRoom.

        Nothing but NoRoom: whoever writes would take an OSError for one of its own.
        """
        self._taken += amount
        if self._taken <= self.amount:
            return
        try:
            self._room.grow(self, self._taken - self.amount)
        except OSError as error:
            raise NoRoom(f"the books cannot be kept: {error}") from error

    def discard(self) -> None:
        """Remove what was written and give the bytes back; nothing once it became an entry.

        Raises OSError.
        """
        if self.lock.is_held:
            self._remove()


class Removal(_Reserved):
    """Something that is being removed, and counts until it is gone."""

    @classmethod
    def new(cls, places: Places) -> Self:
        """Make one, with the books in hand."""
        made = cls(places, f"{secrets.token_hex(8)}{GONE}")
        made.lock.take(ALONE)
        return made

    @property
    def amount(self) -> int:
        """Return the bytes it may hold."""
        return read_number(self.lock.path)

    def finish(self) -> bool:
        """Remove it; False when something stays, which goes on being counted."""
        try:
            self._remove()
        except OSError:
            return False
        return True


def number(amount: int) -> bytes:
    """Write a number so that it always replaces the one before in one step."""
    return b"%020d" % amount


def read_number(path: Path) -> int:
    """Read one; none is nothing: its file was just made, just removed, or holds something else."""
    try:
        return max(0, int(own_files.read(path)))
    except (OSError, ValueError):
        return 0
