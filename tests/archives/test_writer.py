"""Tests of the thread that fills files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runner.archives.writer import Writer

_MANY = 500


def opened(path: Path) -> int:
    """Return a new file's descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def test_many_files_get_what_is_theirs(tmp_path: Path) -> None:
    """Bytes in their order, mode and time, for the first few and for those behind them."""
    with Writer() as writer:
        for number in range(_MANY):
            descriptor = opened(tmp_path / str(number))
            writer.write(descriptor, b"%d " % number)
            writer.write(descriptor, b"end")
            writer.finish(descriptor, 0o640, number * 10**9)
        writer.settle()
        for number in range(_MANY):
            file = tmp_path / str(number)
            assert file.read_bytes() == b"%d end" % number
            assert file.stat().st_mode & 0o777 == 0o640
            assert file.stat().st_mtime == number


@pytest.mark.parametrize("before", [0, _MANY])
def test_a_full_disk_is_told(tmp_path: Path, before: int) -> None:
    """Whichever thread met it."""

    def fill(full: int) -> None:
        with Writer() as writer:
            for number in range(before):
                writer.finish(opened(tmp_path / str(number)), 0o600, 0)
            writer.write(full, b"x")
            writer.settle()

    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space") as told:
        fill(full)
    assert told.value.errno == errno.ENOSPC
    os.close(full)


def test_what_is_given_up_is_closed(tmp_path: Path) -> None:
    """After the caller's own error nothing is waited for but the closing."""
    descriptors: set[int] = set()

    def fill() -> None:
        with Writer() as writer:
            for number in range(_MANY):
                descriptor = opened(tmp_path / str(number))
                descriptors.add(descriptor)
                writer.write(descriptor, bytes(1 << 16))
                writer.finish(descriptor, 0o600, 0)
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
