"""Keeps what a run shares with others, artifacts and environment, as long as it lives."""

import errno
import fcntl
import os


def hold(paths: list[bytes]) -> None:
    """Take a shared ``flock`` on each file until this process ends, however it ends.

    The daemon that wrote the launch holds them, too, until we do; only when it was killed before
    that may somebody have removed one meanwhile. Raises OSError then.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))


def is_held(path: bytes, *, by_anybody: bool = False) -> bool:
    """Tell whether somebody has locked a file or directory: alone, or in any way.

    For the blink of the look the lock is ours; whoever wants it then tries again.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if by_anybody else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
