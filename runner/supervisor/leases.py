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
