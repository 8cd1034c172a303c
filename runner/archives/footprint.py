"""What files take from a disk, by a rule that holds on every file system before they are there."""

from __future__ import annotations

from collections.abc import Callable

Take = Callable[[int], None]
"""Told how many bytes of the disk are about to be used; what it raises ends the work."""

#: Contents are kept in blocks of this size.
BLOCK = 4096
#: A file, directory or link besides its contents: inode, name, target, list of blocks.
INODE = 4096


def in_blocks(size: int) -> int:
    """Return what ``size`` bytes of content take."""
    return -(-size // BLOCK) * BLOCK


def of_file(size: int) -> int:
    """Return what a file of ``size`` bytes takes."""
    return INODE + in_blocks(size)


class Spending:
    """Tells of what is about to be used, and uses up first what turned out not to be needed."""

    def __init__(self, take: Take | None) -> None:
        self._take = take
        self._left = 0

    def inode(self) -> None:
        """Announce a file, directory or link."""
        self._spend(INODE)

    def no_inode(self) -> None:
        """Say that the one just announced was there already."""
        self._left += INODE

    def content(self, before: int, after: int) -> None:
        """Announce that a file grows from ``before`` to ``after`` bytes."""
        self._spend(in_blocks(after) - in_blocks(before))

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            missing, self._left = -self._left, 0
            if self._take is not None:
                self._take(missing)
