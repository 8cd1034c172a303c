"""Opens files that an experiment may have replaced by links, pipes or devices."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from runner.archives.walk import open_in_place


def open_regular(path: Path, flags: int) -> int:
    """Open a regular file and nothing else, without ever blocking. Raises OSError.

    Nor one in a directory that the experiment has replaced by a link.
    """
    descriptor = open_in_place(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file any more", str(path))
    return descriptor
