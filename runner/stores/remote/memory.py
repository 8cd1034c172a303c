"""The memory that all transfers of a process hold parts in: bounded, shared fairly, reused."""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runner.blocking import Stop

#: Larger parts lie in an unlinked file: only uploads of more than 50 GiB have them.
LARGEST_IN_MEMORY = 32 << 20


class Memory:
    """``shared`` bytes for all transfers together, beside one buffer that each always gets.

    So every transfer moves, however slow the consumers of the others are. What is given back is
    kept while anything is transferred, and then returned to the system.
    """

    def __init__(self, shared: int = 64 << 20) -> None:
        self._shared = shared
        self._used = 0
        self._shares: list[Share] = []
        self._kept: dict[int, list[mmap.mmap]] = {}
        self._changed = threading.Condition()

    @contextmanager
    def share(self, stop: Stop) -> Iterator[Share]:
        """Enter a transfer; all its buffers go back at the end."""
        own = Share(self, stop)
        with self._changed:
            self._shares.append(own)
        try:
            with stop.calling(self._wake):
                yield own
        finally:
            with self._changed:
                self._shares.remove(own)
                self._used -= own.taken
                if not self._shares:
                    self._kept.clear()
                self._changed.notify_all()

    @property
    def used(self) -> int:
        """Return how many of the shared bytes are taken."""
        return self._used

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def take(self, share: Share, size: int, stop: Stop) -> mmap.mmap:
        """Wait for ``size`` bytes."""
        with self._changed:
            while not self._admits(share, size):
                stop.check()
                self._changed.wait()
            if share.has_own:
                share.taken += size
                self._used += size
            share.has_own = True
            kept = self._kept.get(size)
            if kept:
                return kept.pop()
        return _map(size)

    def _admits(self, share: Share, size: int) -> bool:
        if not share.has_own:
            return True
        fair = self._shared // len(self._shares)
        return self._used + size <= self._shared and share.taken + size <= fair

    def give(self, share: Share, buffer: mmap.mmap) -> None:
        """Take ``buffer`` back."""
        size = len(buffer)
        with self._changed:
            # The first buffer was free of charge; whichever comes last stands for it.
            if share.taken:
                share.taken -= size
                self._used -= size
            else:
                share.has_own = False
            if size <= LARGEST_IN_MEMORY:
                self._kept.setdefault(size, []).append(buffer)
            self._changed.notify_all()


class Share:
    """What one transfer has of the memory."""

    def __init__(self, memory: Memory, stop: Stop) -> None:
        self._memory = memory
        self._stop = stop
        #: Bytes of the shared ones, and whether the buffer that is always given is given.
        self.taken = 0
        self.has_own = False

    def take(self, size: int) -> mmap.mmap:
        """Wait for a buffer of ``size`` bytes. Raises Interrupted when the transfer is stopped."""
        return self._memory.take(self, size, self._stop)

    def give(self, buffer: mmap.mmap) -> None:
        """Give a buffer back; nobody may hold a view of it."""
        self._memory.give(self, buffer)


def _map(size: int) -> mmap.mmap:
    # Not a bytearray: the allocator would keep the address space for itself.
    if size <= LARGEST_IN_MEMORY:
        return mmap.mmap(-1, size)
    with tempfile.TemporaryFile(prefix="part-") as file:
        file.truncate(size)
        return mmap.mmap(file.fileno(), size)


#: Shared by all stores of the process.
MEMORY = Memory()
