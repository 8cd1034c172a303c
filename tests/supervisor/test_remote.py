"""A file system over a network that has gone keeps nobody who only hides what lies there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from runner.supervisor import remote

_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A directory with white space in its name, and the file system's server, which is silent."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("takes root and FUSE, to mount what hangs")
    place = tmp_path / "not there"
    place.mkdir()
    with Path("/dev/fuse").open("r+b", 0) as server:
        told = f"fd={server.fileno()},rootmode=40000,user_id=0,group_id=0".encode()
        if _libc.mount(b"gone", os.fsencode(place), b"fuse", ctypes.c_ulong(0), told) != 0:
            pytest.skip("nothing can be mounted here")
        yield place, server
    _libc.umount2(os.fsencode(place), _DETACH)


def test_what_hangs_is_left_out(
    mounted: tuple[Path, BinaryIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is hidden, whether it is there or not, and the run begins."""
    monkeypatch.setattr(remote, "_PATIENCE", 50)
    gone = os.fsencode(mounted[0] / "fleet")
    local = [os.fsencode(tmp_path), os.fsencode(tmp_path / "missing")]
    assert remote.answering([local[0], gone, local[1]]) == local


def test_what_answers_is_kept(mounted: tuple[Path, BinaryIO]) -> None:
    """An error is an answer: without its server nothing of the file system is to be had."""
    place, server = mounted
    server.close()
    path = os.fsencode(place / "fleet")
    assert remote.answering([path]) == [path]
