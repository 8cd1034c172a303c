"""What unpacking says that it takes of the disk, before it takes it."""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.archives.footprint import BLOCK, INODE, in_blocks, of_file
from runner.archives.unpack import place_file, unpack
from runner.errors import TooLarge
from runner.model import Bytes

BUDGET = Bytes(1 << 30)
SIZES = [0, 1, 4095, 4096, 4097, 300_000, 1_000_001]


class NoMore(Exception):
    """There is no room."""


class Account:
    """Adds up what is taken, and has looked whether it was there before."""

    def __init__(self, root: Path, limit: int = 1 << 40) -> None:
        self.root = root
        self.limit = limit
        self.taken = 0

    def take(self, amount: int) -> None:
        """Take more. What was written by now was taken before."""
        assert amount > 0
        assert used(self.root) <= self.taken + INODE
        if self.taken + amount > self.limit:
            raise NoMore
        self.taken += amount


def used(root: Path) -> int:
    """Return what a directory takes, itself included."""
    return sum(path.lstat().st_blocks * 512 for path in (root, *root.rglob("*")))


def tar() -> BinaryIO:
    """Return an archive with files of several sizes, directories and links."""
    chance, stream = random.Random(1), io.BytesIO()  # noqa: S311 - contents
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number, size in enumerate(SIZES):
            info = tarfile.TarInfo(f"d{number % 2}/deep/f{number}")
            info.size = size
            archive.addfile(info, io.BytesIO(chance.randbytes(size)))
        for kind, name in ((tarfile.SYMTYPE, "soft"), (tarfile.LNKTYPE, "hard")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "d0/deep/f0"
            archive.addfile(info)
    stream.seek(0)
    return stream


def zipped() -> BinaryIO:
    """Return an archive that has to be kept whole while it is unpacked."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, size in enumerate(SIZES):
            archive.writestr(f"f{number}", os.urandom(size))
    stream.seek(0)
    return stream


@given(st.integers(0, 1 << 40))
def test_a_file_takes_whole_blocks_and_its_inode(size: int) -> None:
    """Never less than its size, never a block too much."""
    assert size <= in_blocks(size) < size + BLOCK
    assert of_file(size) == in_blocks(size) + INODE


def test_everything_is_taken_before_it_is_written(tmp_path: Path) -> None:
    """At no moment is there more on the disk than was taken; in the end little less."""
    root = tmp_path / "tree"
    root.mkdir()
    account = Account(root)
    unpack(tar(), root, budget=BUDGET, take=account.take)
    files = sum(map(of_file, SIZES))
    assert account.taken == files + 2 * INODE + 4 * INODE
    assert used(root) <= account.taken + INODE


def test_the_copy_of_a_zip_archive_counts(tmp_path: Path) -> None:
    """It lies on the same disk as long as it is unpacked."""
    root = tmp_path / "tree"
    root.mkdir()
    account = Account(root)
    stream = zipped()
    size = len(stream.getvalue())  # type: ignore[attr-defined] # it is a BytesIO
    unpack(stream, root, budget=BUDGET, take=account.take)
    assert account.taken == sum(map(of_file, SIZES)) + in_blocks(size)


@pytest.mark.parametrize("archive", [tar, zipped])
def test_no_room_comes_out_and_leaves_nothing(tmp_path: Path, archive: object) -> None:
    """Wherever the room ends: the error arrives as it is, and the directory is empty."""
    assert callable(archive)
    for limit in (0, INODE, 50_000, 700_000):
        root = tmp_path / str(limit)
        root.mkdir()
        with pytest.raises(NoMore):
            unpack(archive(), root, budget=BUDGET, take=Account(root, limit).take)
        assert list(root.iterdir()) == []


def test_a_single_file_is_taken_as_well(tmp_path: Path) -> None:
    """And without room it is not there."""
    roomy, full = tmp_path / "roomy", tmp_path / "full"
    roomy.mkdir()
    full.mkdir()
    account = Account(roomy)
    place_file(io.BytesIO(bytes(300_000)), roomy / "one", budget=BUDGET, take=account.take)
    assert account.taken == of_file(300_000)
    short = Account(full, 100_000)
    with pytest.raises(NoMore):
        place_file(io.BytesIO(bytes(300_000)), full / "one", budget=BUDGET, take=short.take)
    assert list(full.iterdir()) == []


def test_beyond_the_budget_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Another experiment with more disk may well unpack it."""
    with pytest.raises(TooLarge):
        unpack(tar(), tmp_path, budget=Bytes(1000))
    with pytest.raises(TooLarge):
        place_file(io.BytesIO(bytes(2000)), tmp_path / "one", budget=Bytes(1000))
