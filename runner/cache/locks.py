"""Locks between processes: ``flock`` on files, which ends with its process however that ends.

A lock file may be removed by whoever holds it alone; the others find that theirs is no longer the
file of that name, and take the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

SHARED, ALONE = fcntl.LOCK_SH, fcntl.LOCK_EX
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
#: Seconds; what is waited for so takes some system calls, or removing one tree. Longer, and its
#: holder must be frozen.
_PATIENCE = 10.0
_LONGEST_NAP = 0.005
_LONGEST_CONTENT = 64


class Lock:
    """A lock that this object holds or does not, to be closed by somebody else than its taker.

    So a thread whose awaiter was cancelled can have taken it, and it is given back all the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_held(self) -> bool:
        """Whether it was taken and not closed since."""
        return self._descriptor is not None

    def attempt(self, kind: int) -> bool:
        """Take it if that can be done now; one that is held is given back first."""
        self.close()
        descriptor = os.open(self.path, _FLAGS, 0o600)
        try:
            if _is_locked(descriptor, kind) and _is_at(descriptor, self.path):
                self._descriptor = descriptor
        finally:
            if self._descriptor is None:
                os.close(descriptor)
        return self.is_held

    def take(self, kind: int) -> None:
        """Wait for a lock that others hold only for some system calls. Raises OSError."""
        for _ in _naps(self.path):
            if self.attempt(kind):
                return

    def pass_on(self) -> Lock:
        """Return a lock that holds what this one held until now."""
        heir = Lock(self.path)
        heir._descriptor, self._descriptor = self._descriptor, None
        return heir

    def touch(self) -> None:
        """Note that what it protects is being used."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # read-only by now
                os.utime(self._descriptor)

    def read(self) -> bytes:
        """Return what is in the file."""
        assert self._descriptor is not None  # noqa: S101 - held by the caller
        return os.pread(self._descriptor, _LONGEST_CONTENT, 0)

    def write(self, content: bytes) -> None:
        """Replace what is in the file by as many bytes, in one step."""
        assert self._descriptor is not None  # noqa: S101 - held by the caller
        os.pwrite(self._descriptor, content, 0)

    def remove(self) -> None:
        """Remove the file of a lock that is held alone, and give it back."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give it back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether anybody holds the lock of a file; one that is not there is nobody's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _is_locked(descriptor, ALONE)
    finally:
        os.close(descriptor)


def wait_until_free(path: Path) -> None:
    """Wait for the end of what is done in a moment. Raises OSError."""
    for _ in _naps(path):
        if not is_held(path):
            return


def _naps(path: Path) -> Iterator[None]:
    give_up, nap = time.monotonic() + _PATIENCE, 0.0002
    while time.monotonic() < give_up:
        yield
        time.sleep(nap)
        nap = min(nap * 2, _LONGEST_NAP)
    raise OSError(errno.EDEADLK, "another process holds it and does nothing", str(path))


def _is_locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
