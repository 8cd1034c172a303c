"""An archive made of ranges of the stored one and a tail is what a fresh one would be."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.archives.layout import Placed, plan
from runner.archives.look import look
from runner.archives.mapped import written_through_maps
from runner.archives.pack import Placing, pack_directory
from runner.archives.signature import signature
from runner.archives.stamps import is_past
from runner.archives.unpack import unpack
from runner.model import Bytes, Span

PLENTY = Bytes(1 << 30)
#: Of this size are the ranges in these tests, so that small trees have many.
SMALLEST = 4096


def nobody() -> frozenset[int]:
    """Say that no file is mapped."""
    return frozenset()


class Stored:
    """A directory's archive as a store has it, brought up to date again and again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.body = b""
        self.members: Sequence[Placed] = ()
        #: What the last update sent.
        self.sent = 0

    def update(self, *, smallest: int = SMALLEST, most: int = 100) -> None:
        """Make the archive of what is there now."""
        now = look(self.directory, mapped=nobody)
        found = plan(self.members, now, smallest=smallest, most=most)
        kept = found.members if found else ()
        placing = Placing(now, {member.name for member in kept}, found.length if found else 0)
        tail = io.BytesIO()
        pack_directory(self.directory, tail, placing=placing)
        spans = found.kept if found else ()
        self.body = b"".join(self.body[one.start : one.end] for one in spans) + tail.getvalue()
        self.members = [*kept, *placing.members]
        self.sent = len(tail.getvalue())


def entries(archive: bytes) -> dict[str, tuple[bytes, int, float, str, bytes]]:
    """Read an archive with Python's own reader; a name that comes twice fails."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            assert member.name not in found
            file = tar.extractfile(member) if member.isreg() else None
            content = file.read() if file else b""
            facts = (member.type, member.mode, member.mtime, member.linkname)
            found[member.name] = (*facts, content)
    return found


def fresh(directory: Path) -> bytes:
    """Pack the directory as if nothing were stored."""
    file = io.BytesIO()
    pack_directory(directory, file)
    return file.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory of twenty files of 5,000 bytes."""
    for number in range(20):
        (tmp_path / "tree" / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / f"{number % 4}" / f"{number}").write_bytes(os.urandom(5000))
    return tmp_path / "tree"


# ----------------------------------------------------------------------- any tree, any change

PATHS = st.lists(st.sampled_from("abcé"), min_size=1, max_size=3).map("/".join)
CHANGES = st.tuples(
    st.sampled_from(["write", "append", "remove", "directory", "link", "mode", "touch"]),
    PATHS,
    st.integers(0, 9000),
)


def write(path: Path, number: int) -> None:
    """Replace the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((b"%d " % number * number)[:number])


def append(path: Path, number: int) -> None:
    """Let a file grow."""
    with path.open("ab") as file:
        file.write(b"more" * number)


def remove(path: Path, _: int) -> None:
    """Remove a file or a whole directory."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


ACTS: dict[str, Callable[[Path, int], object]] = {
    "write": write,
    "append": append,
    "remove": remove,
    "directory": lambda path, _: path.mkdir(parents=True),
    "link": lambda path, _: path.symlink_to("a"),
    "mode": lambda path, number: path.chmod(0o700 | number & 0o77),
    "touch": lambda path, number: os.utime(path, ns=(number, number), follow_symlinks=False),
}


@given(
    rounds=st.lists(st.lists(CHANGES, max_size=12), min_size=1, max_size=4),
    smallest=st.sampled_from([1, 512, 4096, 20000]),
    most=st.integers(1, 4),
)
@settings(max_examples=150)
def test_patched_archives_are_as_fresh_ones(
    rounds: list[list[tuple[str, str, int]]], smallest: int, most: int
) -> None:
    """After any changes the archive of ranges and tail has the members of a fresh one.

    Python's reader finds the same members with the same content, each once, our own reader makes
    the same directory of both, and the layout tells of every byte.
    """
    with tempfile.TemporaryDirectory() as base:
        root = Path(base, "tree")
        root.mkdir()
        stored = Stored(root)
        for changes in rounds:
            for verb, name, number in changes:
                with contextlib.suppress(OSError):  # what is impossible is no change
                    ACTS[verb](root / name, number)
            stored.update(smallest=smallest, most=most)
            assert entries(stored.body) == entries(fresh(root))
            assert len(stored.body) % tarfile.RECORDSIZE == 0
            end = sum(member.length for member in stored.members)
            assert not any(stored.body[end:])
        there, back = Path(base, "there"), Path(base, "back")
        for archive, place in ((stored.body, there), (fresh(root), back)):
            place.mkdir()
            unpack(io.BytesIO(archive), place, budget=PLENTY)
        assert entries(fresh(there)) == entries(fresh(back))


MEMBERS = st.lists(st.tuples(st.booleans(), st.integers(1, 40).map(lambda n: 512 * n)), max_size=30)


@given(members=MEMBERS, smallest=st.integers(1, 30000), most=st.integers(1, 6))
def test_a_plan_keeps_the_most_that_may_be_kept(
    members: list[tuple[bool, int]], smallest: int, most: int
) -> None:
    """Ranges are whole unchanged members, long and few enough, and no other choice keeps more."""
    placed = [Placed(str(index), "s", length) for index, (_, length) in enumerate(members)]
    now = {str(index): "s" if same else "other" for index, (same, _) in enumerate(members)}
    runs = [0]
    for same, length in members:
        runs = [*runs[:-1], runs[-1] + length] if same else [*runs, 0]
    best = sum(sorted((one for one in runs if one >= smallest), reverse=True)[:most])
    found = plan(placed, now, smallest=smallest, most=most)
    if found is None:
        assert best == 0
        return
    assert found.length == best == sum(member.length for member in found.members)
    assert len(found.kept) <= most
    assert all(span.length >= smallest for span in found.kept)
    assert all(now[member.name] == member.seen for member in found.members)
    ends = [span.end for span in found.kept]
    assert all(end < span.start for end, span in zip(ends, found.kept[1:], strict=False))


# ------------------------------------------------------------------------- what is read, and not


def test_one_changed_file_is_all_that_is_packed(tree: Path) -> None:
    """Of twenty files one changed: it alone is packed, behind all others."""
    stored = Stored(tree)
    stored.update()
    before = [member.name for member in stored.members]
    (tree / "1" / "5").write_bytes(b"x" * 6000)
    stored.update()
    assert stored.sent <= 20480
    assert [member.name for member in stored.members] == [
        *(name for name in before if name != "1/5"),
        "1/5",
    ]
    assert entries(stored.body) == entries(fresh(tree))


def test_what_is_unchanged_is_not_read(tree: Path) -> None:
    """Of 20 MB all that is read is the file that changed: deciding reads no content at all."""
    for number in range(20):
        (tree / f"large{number}").write_bytes(os.urandom(1 << 20))
    stored = Stored(tree)
    stored.update()
    (tree / "large7").write_bytes(b"changed" * 1000)
    before = bytes_read()
    signature(tree)
    stored.update()
    assert 7000 <= bytes_read() - before < 20000
    assert len(stored.body) > 19 << 20


def bytes_read() -> int:
    """Return what this process has read until now, from files or from anything else."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def test_a_deleted_file_leaves_no_hole(tree: Path) -> None:
    """What is gone is in no range, and the archive is shorter by it."""
    stored = Stored(tree)
    stored.update()
    size = len(stored.body)
    (tree / "0" / "0").unlink()
    (tree / "3" / "7").unlink()
    stored.update()
    assert len(stored.body) <= size - 2 * 5000
    assert entries(stored.body) == entries(fresh(tree))


# --------------------------------------------------------------------------- what is not trusted


class Meddling(io.BytesIO):
    """An archive on its way out; while a member's content passes, something happens."""

    def __init__(self, content: bytes, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._content = content
        self._meddle: Callable[[], object] | None = meddle

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        # typeshed's buffer type is spelled Buffer, which Python 3.11 cannot import
        """Take a piece of the archive."""
        if self._meddle and bytes(data) == self._content:
            self._meddle()
            self._meddle = None
        return super().write(data)


def test_a_file_that_changes_while_it_is_packed_is_packed_again(tree: Path) -> None:
    """The place of a file written meanwhile is noted as not to be relied on."""
    path = tree / "1" / "5"
    content = path.read_bytes()
    placing = Placing(look(tree, mapped=nobody))
    packed = pack_directory(
        tree, Meddling(content, lambda: path.write_bytes(content[::-1])), placing=placing
    )
    assert packed.changed == ["1/5"]
    assert [member.name for member in placing.members if not member.seen] == ["1/5"]
    now = look(tree, mapped=nobody)
    found = plan(placing.members, now, smallest=1, most=100)
    assert found
    assert "1/5" not in {member.name for member in found.members}
    assert len(found.members) == len(placing.members) - 1


def test_what_changed_between_look_and_packing_is_packed_again(tree: Path) -> None:
    """A file that is no longer what the look saw may have been mapped since: no trust."""
    placing = Placing(look(tree, mapped=nobody))
    (tree / "1" / "5").write_bytes(b"other")
    pack_directory(tree, io.BytesIO(), placing=placing)
    assert [member.name for member in placing.members if not member.seen] == ["1/5"]


def test_a_file_with_a_shared_memory_map_is_not_trusted(tree: Path) -> None:
    """Its next write may get no stamp, so neither its look nor its directory's signature counts.

    The second write below changes neither time nor size. Private and read-only maps do no harm.
    """
    path = tree / "1" / "5"
    with path.open("r+b") as file:
        with (
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ),
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE),
        ):
            assert path.stat().st_ino not in written_through_maps()
        with mmap.mmap(file.fileno(), 0) as shared:
            shared[0] = shared[0] ^ 1
            assert path.stat().st_ino in written_through_maps()
            before = path.stat()
            shared[1] = shared[1] ^ 1
            assert path.stat().st_ctime_ns == before.st_ctime_ns
            found = look(tree, mapped=written_through_maps)
            assert sorted(set(look(tree, mapped=nobody)) - set(found)) == ["1/5"]
            first = signature(tree, mapped=written_through_maps)
            assert first != signature(tree, mapped=written_through_maps)
    assert path.stat().st_ino not in written_through_maps()
    assert signature(tree) == signature(tree, mapped=written_through_maps)


def test_a_write_right_after_the_look_is_seen(tree: Path) -> None:
    """However fast one write of the same size follows another, the look between them parts them."""
    path = tree / "1" / "5"
    for number in range(100):
        path.write_bytes(b"%5d" % number)
        found = look(tree, mapped=nobody)["1/5"]
        path.write_bytes(b"%5d" % -number)
        assert look(tree, mapped=nobody)["1/5"] != found
    assert not is_past(time.time_ns() + 10**9)


def test_every_change_is_seen(tree: Path) -> None:
    """Content, size, times, permissions and inode each change what ``look`` says of a file."""
    path = tree / "1" / "5"
    content = path.read_bytes()
    changes: list[Callable[[], object]] = [
        lambda: path.write_bytes(content[::-1]),
        lambda: path.write_bytes(content + b"x"),
        lambda: os.utime(path, ns=(5, 5)),
        lambda: path.chmod(0o640),
        lambda: shutil.copy2(path, tree / "copy") and (tree / "copy").rename(path),
    ]
    found = {look(tree, mapped=nobody)["1/5"]}
    for number, act in enumerate(changes, 2):
        act()
        found.add(look(tree, mapped=nobody)["1/5"])
        assert len(found) == number


def test_spans_end_where_the_next_byte_lies() -> None:
    """Start and length say where."""
    assert Span(512, 1024).end == 1536
