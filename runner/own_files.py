"""Reads the small files that the daemon keeps for itself, whatever lies in their place by now."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")

#: A number of anything: bytes, cores, attempts.
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
#: Seconds since the epoch, of years that a calendar knows.
Moment = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]
#: What something took; negative where a clock was set back meanwhile.
Seconds = Annotated[float, msgspec.Meta(gt=-1e11, lt=1e11)]

#: Nobody waits for the other end of a pipe.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def read(path: Path) -> bytes:
    """Return what is in a regular file. Raises OSError, also for whatever else lies there."""
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def read_as(path: Path, kind: type[T]) -> T:
    """Return the JSON of a file as ``kind``, a type that msgspec knows, with its bounds.

    Members that ``kind`` has not are skipped. Raises OSError, ValueError.
    """
    return parsed(read(path), kind)


def parsed(data: bytes, kind: type[T]) -> T:
    """Return JSON as ``kind``, as ``read_as`` does. Raises ValueError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
