"""Files with holes go out and come in by their data, readable for everybody else's tar."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.archives.extents import extents, has_holes, worth_storing
from runner.archives.pack import Packed, pack_directory, pack_single
from runner.archives.sparse import sparse_head
from runner.archives.unpack import unpack
from runner.model import Bytes, Span

MIB = 1 << 20
GIB = 1 << 30
#: Where pieces of data lie, and how long the file is.
FILES: dict[str, tuple[dict[int, bytes], int]] = {
    "begins": ({0: b"begin" * 2000}, 100 * GIB),
    "ends": ({5 * MIB: b"end"}, 5 * MIB + 3),
    "middle": ({50 * GIB: b"middle", 70 * GIB + 5: b"x" * 100_000}, 100 * GIB),
    "nothing": ({}, 100 * GIB),
    "often": ({number * MIB: b"%d" % number for number in range(40)}, 40 * MIB),
    "n" * 200: ({MIB: b"long name"}, 2 * MIB),
    "no \udcff utf-8": ({MIB: b"odd name"}, 2 * MIB),
    "whole": ({0: b"w" * MIB}, MIB),
}


def make(path: Path, pieces: dict[int, bytes], size: int) -> None:
    """Write a file with holes."""
    with path.open("wb") as file:
        for start, data in pieces.items():
            file.seek(start)
            file.write(data)
        file.truncate(size)


def is_right(path: Path, pieces: dict[int, bytes], size: int) -> bool:
    """Tell whether a file has its length, its data where they were, and not much else."""
    state = path.stat()
    with path.open("rb") as file:
        for start, data in pieces.items():
            file.seek(max(0, start - 10))
            if file.read(len(data) + 10).strip(b"\0")[: len(data)] != data:
                return False
    spent = sum(len(data) + 3 * 4096 for data in pieces.values())
    return state.st_size == size and state.st_blocks * 512 <= spent


def by_us(archive: Path, into: Path) -> None:
    """Unpack with our own reader, for which holes take no room."""
    with archive.open("rb") as stream:
        unpack(stream, into, budget=Bytes(4 * MIB))


def by_the_client(archive: Path, into: Path) -> None:
    """Unpack as StudioML's client does."""
    with tarfile.open(archive, "r") as opened:
        opened.extractall(into)  # noqa: S202 - ours


def by_a_stream(archive: Path, into: Path) -> None:
    """Unpack as the client's reader of streams does."""
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as opened:
        opened.extractall(into)  # noqa: S202 - ours


def by_gnu_tar(archive: Path, into: Path) -> None:
    """Unpack with GNU tar."""
    subprocess.run(["tar", "-xf", archive, "-C", into], check=True, capture_output=True)  # noqa: S607 - any


@pytest.mark.parametrize("read", [by_us, by_the_client, by_a_stream, by_gnu_tar])
def test_everybody_reads_what_was_packed_without_its_holes(
    read: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """Each file has its length, its data and its holes again; what follows it is found."""
    tree, into = tmp_path / "tree", tmp_path / "into"
    tree.mkdir()
    into.mkdir()
    for name, (pieces, size) in FILES.items():
        make(tree / name, pieces, size)
    archive = tmp_path / "archive.tar"
    with archive.open("wb") as file:
        found = pack_directory(tree, file)
    assert archive.stat().st_size < 3 * MIB
    assert found.members == len(FILES)
    read(archive, into)
    assert sorted(path.name for path in into.iterdir()) == sorted(FILES)
    assert [name for name, what in FILES.items() if not is_right(into / name, *what)] == []


def test_a_result_with_holes_is_still_one_member(tmp_path: Path) -> None:
    """The client takes the name of the only member for the sign of a single file."""
    make(tmp_path / "retval", {GIB: b"end"}, GIB + 3)
    stream = io.BytesIO()
    pack_single(tmp_path / "retval", stream)
    assert len(stream.getvalue()) == tarfile.RECORDSIZE
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.size) == ("./retval", GIB + 3)
    stream.seek(0)
    (tmp_path / "into").mkdir()
    assert unpack(stream, tmp_path / "into", budget=Bytes(MIB)).single


def test_packing_is_the_same_each_time_and_says_what_was_stored(tmp_path: Path) -> None:
    """Bytes are those of the data, on the way out and in."""
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree / "file", {GIB: b"x" * 4096}, 2 * GIB)

    def packed() -> tuple[Packed, bytes]:
        stream = io.BytesIO()
        return pack_directory(tree, stream), stream.getvalue()

    found, body = packed()
    assert packed()[1] == body
    (tmp_path / "into").mkdir()
    back = unpack(io.BytesIO(body), tmp_path / "into", budget=Bytes(4096))
    assert back.bytes == found.bytes == 4096


class Meddling(io.BytesIO):
    """A target that changes the source behind the first header."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self._change: Callable[[], object] | None = change

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Change the source once, and write."""
        change, self._change = self._change, None
        if change:
            change()
        return super().write(data)


@pytest.mark.parametrize("size", [10, 4 * GIB])
def test_a_file_with_holes_that_changes_meanwhile_leaves_the_archive_whole(
    tmp_path: Path, size: int
) -> None:
    """Shorter, it is filled up; longer, it is cut: as any other file, and told as changed."""
    tree, into = tmp_path / "tree", tmp_path / "into"
    tree.mkdir()
    into.mkdir()
    make(tree / "a", {GIB: b"x" * 4096}, 2 * GIB)
    (tree / "b").write_text("b")
    stream = Meddling(lambda: os.truncate(tree / "a", size))
    assert pack_directory(tree, stream).changed == ["a"]
    stream.seek(0)
    unpack(stream, into, budget=Bytes(MIB))
    assert (into / "a").stat().st_size == 2 * GIB
    assert (into / "b").read_text() == "b"


@pytest.mark.parametrize("length", [8**11 - 1, 9 * GIB, 20 << 40])
def test_the_next_member_is_found_behind_any_length(length: int) -> None:
    """Also behind data whose length has no room in a header: tarfile trusts no record of it."""
    info = tarfile.TarInfo("file")
    info.size, info.mtime = length * 4, 5.25
    head = sparse_head(info, [Span(512, length)])
    with tarfile.open(fileobj=io.BytesIO(head), mode="r:") as archive:
        member = archive.firstmember  # type: ignore[attr-defined]  # typeshed lacks it
        assert (member.name, member.size, member.mtime) == ("file", length * 4, 5.25)
        assert member.sparse == [(512, length), (length * 4, 0)]
        assert archive.offset == len(head) + -(-length // 512) * 512


# ------------------------------------------------------------------------- where the holes are

PIECES = st.lists(st.integers(0, 40 * MIB), max_size=20).map(sorted)


@given(PIECES, st.integers(0, 42 * MIB))
def test_all_data_are_stored(edges: list[int], size: int) -> None:
    """Spans follow each other, hold all data, and end at whole blocks or where the file does."""
    found = [
        Span(start, min(end, size) - start)
        for start, end in zip(edges[::2], edges[1::2], strict=False)
        if start < min(end, size)
    ]
    stored = worth_storing(found, size)
    assert all(any(s.start <= d.start and d.end <= s.end for s in stored) for d in found)
    assert all(span.length > 0 for span in stored)
    assert all(one.end < other.start for one, other in itertools.pairwise(stored))
    assert all(span.start % 512 == 0 for span in stored)
    assert all(span.end % 512 == 0 or span.end == size for span in stored)


def test_no_file_has_more_holes_than_a_header_can_tell() -> None:
    """Of very many, the longest are left out, and the others are stored as zeros."""
    size = 100_000 * MIB
    stored = worth_storing((Span(n * MIB, MIB // 2 - n) for n in range(100_000)), size)
    assert len(stored) == 4000  # the last hole is at the end
    info = tarfile.TarInfo("file")
    info.size = size
    assert len(sparse_head(info, stored)) < 256 << 10


def test_where_nothing_is_told_all_is_data(tmp_path: Path) -> None:
    """Files of kernel and devices have no holes."""
    with Path("/proc/self/maps").open("rb") as file:
        assert list(extents(file.fileno(), 5000, lambda: None)) == [Span(0, 5000)]
    (tmp_path / "whole").write_bytes(b"x" * MIB)
    assert not has_holes((tmp_path / "whole").stat())
