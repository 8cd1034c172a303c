"""Paths of unix sockets that are longer than the kernel's 107 bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import Misconfigured

_LONGEST = 107
_OPEN_FILES = Path("/proc/self/fd")


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give an address for ``path`` that the kernel takes, valid within the block.

    Raises Misconfigured for a long path where there is no /proc; OSError when the directory
    cannot be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    if not _OPEN_FILES.is_dir():
        raise Misconfigured(
            f"the path of the control socket has more than {_LONGEST} bytes: {path}; "
            "choose a shorter --state-dir"
        )
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_OPEN_FILES}/{directory}/{path.name}"
    finally:
        os.close(directory)
