"""Of several processes that change names in one directory, one at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from runner.errors import StoreUnavailable

#: Made only where a directory itself cannot be locked, as on NFS.
LOCK_FILE = ".studio-runner.lock"
_CANNOT_LOCK = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
_LONGEST_WAIT = 30.0
_LONGEST_NAP = 0.02


@contextlib.contextmanager
def locked(directory: int, check: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a directory by a descriptor that nobody else has; a dead holder's is free.

    ``check`` may end the waiting. Raises StoreUnavailable after half a minute: the lock is held
    for two system calls, so its holder must be frozen.
    """
    with _lockable(directory, check) as held:
        try:
            yield
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)


@contextlib.contextmanager
def _lockable(directory: int, check: Callable[[], None]) -> Iterator[int]:
    try:
        _take(directory, check)
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
    else:
        yield directory
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(LOCK_FILE, flags, 0o666, dir_fd=directory)
    try:
        _take(file, check)
        yield file
    finally:
        os.close(file)


def _take(descriptor: int, check: Callable[[], None]) -> None:
    nap = 0.0005
    give_up = time.monotonic() + _LONGEST_WAIT
    while True:
        check()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise StoreUnavailable(
                    f"another process has held a lock of the store for {_LONGEST_WAIT:.0f} s"
                ) from None
            time.sleep(nap)
            nap = min(nap * 2, _LONGEST_NAP)
        else:
            return
