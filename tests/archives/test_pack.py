"""Directories and results are packed as StudioML reads them, and come back as they were."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.archives.compression import Compression, compressed, compression_for, recognise
from runner.archives.links import portable_target
from runner.archives.names import is_winding, split, stays_inside
from runner.archives.pack import Packed, pack_directory, pack_single
from runner.archives.unpack import unpack
from runner.archives.walk import DEEPEST
from runner.errors import ArtifactBad
from runner.model import Bytes

PLENTY = Bytes(1 << 30)


def packed(
    directory: Path, compression: Compression = Compression.NONE
) -> tuple[Packed, tarfile.TarFile]:
    """Pack and open what came out with Python's own reader."""
    file = io.BytesIO()
    found = pack_directory(directory, file, compression=compression)
    file.seek(0)
    return found, tarfile.open(fileobj=file, mode="r:*")


# ------------------------------------------------------------------------- there and back

# Any byte but NUL and "/" may be in a name; surrogates stand for those that are no UTF-8.
LETTERS = st.one_of(
    st.sampled_from("ab.- \n\\%é漢"),
    st.integers(0xDC80, 0xDCFF).map(chr),
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
)
NAMES = st.text(LETTERS, min_size=1, max_size=12).filter(lambda name: name not in {".", ".."})
FILES = st.tuples(st.just("file"), st.binary(max_size=2000), st.integers(0, 0o777))
LINKS = st.tuples(st.just("link"), NAMES, st.just(0))
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        FILES | LINKS,
        lambda inner: st.tuples(
            st.just("directory"), st.dictionaries(NAMES, inner, max_size=4), st.integers(0, 0o777)
        ),
        max_leaves=12,
    ),
    max_size=5,
)


def build(directory: Path, tree: dict[str, tuple[str, object, int]]) -> None:
    """Make the tree."""
    for name, (kind, what, mode) in tree.items():
        path = directory / name
        if isinstance(what, bytes):
            path.write_bytes(what)
            path.chmod(mode | stat.S_IRUSR)
        elif isinstance(what, dict):
            path.mkdir()
            build(path, what)
            path.chmod(mode | stat.S_IRWXU)
        else:
            assert kind == "link"
            path.symlink_to(str(what))
        # Archives have microseconds; any number of them will do.
        stamp = (1_700_000_000_000_000 + zlib.crc32(os.fsencode(name))) * 1000
        os.utime(path, ns=(stamp, stamp), follow_symlinks=False)


def look(directory: Path) -> dict[str, object]:
    """Describe everything below."""
    found: dict[str, object] = {}
    for above, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(above, name)
            state = path.lstat()
            what: object = None
            if path.is_symlink():
                what = str(path.readlink())
            elif path.is_file():
                what = path.read_bytes()
            found[str(path.relative_to(directory))] = (state.st_mode, state.st_mtime_ns, what)
    return found


@given(TREES, st.sampled_from(Compression))
@settings(max_examples=60)
def test_a_tree_comes_back_as_it_was(
    tree: dict[str, tuple[str, object, int]], compression: Compression
) -> None:
    """Names, content, modes, times, links and empty directories; the same tree, the same bytes."""
    with tempfile.TemporaryDirectory() as name:
        here, there = Path(name, "here"), Path(name, "there")
        here.mkdir()
        there.mkdir()
        build(here, tree)
        file, again = io.BytesIO(), io.BytesIO()
        found = pack_directory(here, file, compression=compression)
        pack_directory(here, again, compression=compression)
        assert file.getvalue() == again.getvalue()
        file.seek(0)
        back = unpack(file, there, budget=PLENTY)
        assert look(there) == look(here)
        assert (back.members, back.bytes) == (found.members, found.bytes)
        assert (found.changed, found.left_out) == ([], [])


HOSTILE_NAMES = st.lists(
    st.sampled_from(["a", "b", "c", "..", ".", "", "..data"]), min_size=1, max_size=5
).map("/".join)
HOSTILE = st.lists(
    st.tuples(
        HOSTILE_NAMES,
        st.sampled_from(
            [
                tarfile.REGTYPE,
                tarfile.DIRTYPE,
                tarfile.SYMTYPE,
                tarfile.SYMTYPE,
                tarfile.LNKTYPE,
                tarfile.FIFOTYPE,
            ]
        ),
        HOSTILE_NAMES,
    ),
    max_size=8,
)


def leads_to_itself(path: Path) -> bool:
    """Tell whether the system follows a link to no end; Python makes any path of it."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@given(HOSTILE)
@example([("a", tarfile.SYMTYPE, "a//a")])
@settings(max_examples=200)
def test_nothing_ever_leaves(members: list[tuple[str, bytes, str]]) -> None:
    """Whatever names and links an archive has, all it makes is inside, or it makes nothing."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"new"))
    file.seek(0)
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        into = top / "a" / "b" / "into"
        into.mkdir(parents=True)
        (top / "c").write_text("old")
        try:
            unpack(file, into, budget=PLENTY)
        except ArtifactBad:
            assert list(into.iterdir()) == []
        for path in into.rglob("*"):
            inside = Path(os.path.realpath(path)).is_relative_to(into.resolve())
            assert inside or leads_to_itself(path)
        assert (top / "c").read_text() == "old"
        assert {p.name for p in (top / "a" / "b").iterdir()} == {"into"}
        assert {p.name for p in top.iterdir()} == {"a", "c"}


@given(st.binary(max_size=200), st.integers(0, 10_239), st.integers(0, 2**32))
@settings(max_examples=300)
def test_any_damage_is_an_artifact_error(patch: bytes, at: int, seed: int) -> None:
    """No damage to headers makes anything but a tree inside or ArtifactBad."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=chance.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    ) as archive:
        for name in ("a", "d" * 120 + "/" + "e" * 120, "ü"):
            info = tarfile.TarInfo(name)
            info.size = 700
            info.mtime = 1.5
            archive.addfile(info, io.BytesIO(bytes(700)))
    data = bytearray(file.getvalue())
    data[at : at + len(patch)] = patch
    if chance.random() < 0.5:  # a check sum that fits, so that the rest is believed
        for block in range(0, len(data) - 512, 512):
            if data[block + 257 : block + 262] == b"ustar":
                data[block + 148 : block + 156] = b" " * 8
                total = sum(data[block : block + 512])
                data[block + 148 : block + 156] = b"%06o\0 " % total
    with tempfile.TemporaryDirectory() as name:
        try:
            unpack(io.BytesIO(bytes(data)), Path(name), budget=PLENTY)
        except ArtifactBad:
            assert list(Path(name).iterdir()) == []


@given(HOSTILE_NAMES, HOSTILE_NAMES)
def test_split_and_targets_are_honest(name: str, target: str) -> None:
    """What is accepted has no step up beyond the root, seen as plain text."""
    try:
        parts = split(name)
    except ArtifactBad:
        assert name.startswith("/") or ".." in name.split("/")
        return
    assert not {"", ".", ".."} & set(parts)
    if parts and stays_inside(parts, target):
        joined = os.path.normpath("/".join((*parts[:-1], target)))
        assert not joined.startswith(("../", "/"))
        assert joined != ".."
    if not is_winding(target):
        assert ".." not in target.lstrip("./").split("/")


# ------------------------------------------------------------------------- the form


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory to fill."""
    made = tmp_path / "modeldir"
    made.mkdir()
    return made


def test_names_are_as_the_client_writes_them(tree: Path) -> None:
    """Relative, no ``./``, no root entry, sorted, empty directories too, nobody's."""
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub" / "n.txt").write_text("n")
    (tree / "b").write_text("b")
    (tree / "a").symlink_to("sub/n.txt")
    found, archive = packed(tree)
    with archive:
        assert archive.getnames() == ["a", "b", "sub", "sub/empty", "sub/n.txt"]
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
    assert (found.members, found.bytes) == (5, 2)


def test_a_result_is_one_member_with_its_time(tmp_path: Path) -> None:
    """``./NAME`` alone, with the file's time to the fraction, whatever the compression."""
    result = tmp_path / "retval"
    result.write_bytes(b"result")
    os.utime(result, (1_700_000_000.75, 1_700_000_000.75))
    for compression in Compression:
        file = io.BytesIO()
        pack_single(result, file, compression=compression)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            (member,) = archive.getmembers()
            assert member.name == "./retval"
            assert member.mtime == 1_700_000_000.75
            content = archive.extractfile(member)
            assert content is not None
            assert content.read() == b"result"


def test_a_result_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    """Neither a directory nor a link to somebody else's file is packed as a result."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("directory", "link", "absent"):
        with pytest.raises(OSError, match=name):
            pack_single(tmp_path / name, io.BytesIO())


def test_a_result_in_a_directory_that_became_a_link_is_an_error(tmp_path: Path) -> None:
    """Between the look at it and the packing an experiment may have led it to somebody's files."""
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "retval").write_text("a credential")
    (tmp_path / "retval").symlink_to("certs")
    stream = io.BytesIO()
    with pytest.raises(OSError, match="retval"):
        pack_single(tmp_path / "retval" / "retval", stream)
    assert b"credential" not in stream.getvalue()


@pytest.mark.parametrize(
    ("key", "compression"),
    [
        ("experiments/k/output.tar", Compression.NONE),
        ("output.tar.gz", Compression.GZIP),
        ("OUTPUT.TAR.GZ", Compression.GZIP),
        ("a.tar.bz2", Compression.BZIP2),
        ("a.tar.bzip2", Compression.BZIP2),
        ("a.tbz2", Compression.BZIP2),
        ("a.tgz", Compression.BZIP2),
        ("a.tar.xz", Compression.XZ),
        ("a.zip", Compression.NONE),
        ("a", Compression.NONE),
    ],
)
def test_the_key_chooses_the_compression(key: str, compression: Compression) -> None:
    """By its extension, as the original runner reads it."""
    assert compression_for(key) is compression


@pytest.mark.parametrize("compression", Compression)
def test_what_is_compressed_is_recognised(compression: Compression) -> None:
    """Writing and reading agree, and tar itself reads it."""
    file = io.BytesIO()
    with compressed(file, compression) as stream:
        stream.write(bytes(1024))
    file.seek(0)
    found = recognise(file)
    assert found.compression is compression
    assert found.stream.read() == bytes(1024)


# ------------------------------------------------------------------------- awkward files


def test_links_are_made_portable_or_left_out(tree: Path) -> None:
    """An absolute link into the directory becomes relative; one that leaves stays behind, told."""
    (tree / "ckpt").mkdir()
    (tree / "ckpt" / "5").write_text("weights")
    (tree / "latest").symlink_to(tree / "ckpt" / "5")
    (tree / "ckpt" / "up").symlink_to("../latest")
    (tree / "winding").symlink_to("ckpt/../latest")
    (tree / "passwd").symlink_to("/etc/passwd")
    (tree / "above").symlink_to("../secret")
    (tree / "trick").symlink_to("here/../secret")
    (tree / "here").symlink_to(".")
    found, archive = packed(tree)
    with archive:
        links = {member.name: member.linkname for member in archive if member.issym()}
    assert links == {
        "latest": "ckpt/5",
        "ckpt/up": "../latest",
        "winding": "ckpt/../latest",
        "here": ".",
    }
    assert [name for name, _ in found.left_out] == ["above", "passwd", "trick"]
    assert found.left_out[1][1] == "it is a link to '/etc/passwd', which is outside"


def test_a_link_to_the_root_itself_is_no_way_out(tmp_path: Path) -> None:
    """Neither is one to a directory with the root's name as its beginning."""
    root = tmp_path / "root"
    assert portable_target(root, "link", f"{root}-other/x") is None
    assert portable_target(root, "a/b", f"{root}/c") == "../c"
    assert portable_target(root, "link", "") is None


def test_what_is_no_file_is_left_out(tree: Path) -> None:
    """Pipes and sockets, which nothing waits for."""
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(tree, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
        found, archive = packed(tree)
    with archive:
        assert archive.getnames() == []
    assert [name for name, _ in found.left_out] == ["pipe", "socket"]


def test_hard_links_become_files(tree: Path) -> None:
    """Each name has the content; the original runner would make symbolic links of the others."""
    (tree / "one").write_text("x")
    (tree / "two").hardlink_to(tree / "one")
    _, archive = packed(tree)
    with archive:
        assert all(member.isreg() and member.size == 1 for member in archive)


def test_what_is_too_deep_is_left_out(tree: Path) -> None:
    """A tree that would use up all descriptors is cut, and the rest is packed."""
    here = os.open(tree, os.O_RDONLY)
    for _ in range(DEEPEST + 5):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (tree / "file").write_text("x")
    found, archive = packed(tree)
    with archive:
        assert len(archive.getnames()) == DEEPEST + 1
    assert len(found.left_out) == 1
    assert "levels deep" in found.left_out[0][1]


def test_what_has_too_long_a_path_is_left_out(tree: Path, tmp_path: Path) -> None:
    """The readers of others, which put paths together, would stop there and lose what follows."""
    here = os.open(tree, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (tree / "last").write_text("x")
    found, archive = packed(tree)
    with archive:
        archive.extractall(tmp_path / "there")  # noqa: S202 - ours
    assert (tmp_path / "there" / "last").read_text() == "x"
    assert [why for _, why in found.left_out] == ["its path has more than 3840 bytes"]


@pytest.mark.parametrize("seconds", [0, 1e-9, 0.5, -5, 1.000000001, 1 << 33, 1 << 62])
def test_a_file_of_any_time_is_readable_for_everybody(seconds: float) -> None:
    """Python writes tiny and huge numbers with an exponent, at which Go gives up the archive."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # it keeps any time
        (Path(name) / "file").write_text("x")
        stamp = int(seconds * 10**9)
        os.utime(Path(name) / "file", ns=(stamp, stamp))
        _, archive = packed(Path(name))
    with archive:
        (member,) = archive.getmembers()
        assert re.fullmatch(r"\d+(\.\d+)?", member.pax_headers.get("mtime", "0"))


class Meddling(io.BytesIO):
    """A target that changes the source while it is packed."""

    def __init__(self, change: object) -> None:
        super().__init__()
        self._change = change

    def write(self, data: object) -> int:
        """Change the source once, and write."""
        change, self._change = self._change, None
        if callable(change):
            change()
        return super().write(data)  # type: ignore[arg-type]  # a buffer


def meddle(tree: Path, change: object) -> tuple[Packed, dict[str, bytes]]:
    """Pack, changing something behind the first header, and read what came out."""
    file = Meddling(change)
    found = pack_directory(tree, file)
    file.seek(0)
    contents: dict[str, bytes] = {}
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            content = archive.extractfile(member)
            contents[member.name] = content.read() if content else b""
    file.seek(0)
    with tempfile.TemporaryDirectory() as name:
        unpack(file, Path(name), budget=PLENTY)
    return found, contents


def test_a_file_that_shrinks_is_filled_up(tree: Path) -> None:
    """The archive stays whole, and the report names the file."""
    (tree / "a").write_bytes(b"x" * 1_000_000)
    (tree / "b").write_bytes(b"b")
    found, contents = meddle(tree, lambda: os.truncate(tree / "a", 10))
    assert contents == {"a": b"x" * 10 + bytes(999_990), "b": b"b"}
    assert found.changed == ["a"]


def test_a_file_that_grows_is_cut(tree: Path) -> None:
    """At the size it had."""
    (tree / "a").write_bytes(b"x" * 700)
    (tree / "b").write_bytes(b"b")
    found, contents = meddle(tree, lambda: os.truncate(tree / "a", 5000))
    assert contents == {"a": b"x" * 700, "b": b"b"}
    assert found.changed == ["a"]


def test_what_vanishes_is_passed_over(tree: Path) -> None:
    """A temporary file that is gone was none of the result."""
    (tree / "a").write_bytes(b"a")
    (tree / "b").write_bytes(b"b")
    found, contents = meddle(tree, (tree / "b").unlink)
    assert contents == {"a": b"a"}
    assert (found.changed, found.left_out) == ([], [])


def test_a_link_put_in_a_files_place_is_not_followed(tree: Path, tmp_path: Path) -> None:
    """An experiment cannot make the daemon pack what the experiment may not read."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret")
    (tree / "a").write_bytes(b"a")
    (tree / "b").mkdir()
    (tree / "b" / "x").write_bytes(b"x")
    (tree / "c").write_bytes(b"c")

    def swap() -> None:
        (tree / "c").unlink()
        (tree / "c").symlink_to(tmp_path / "secret")
        (tree / "b").rename(tmp_path / "moved")
        (tree / "b").symlink_to(tmp_path / "other")

    _, contents = meddle(tree, swap)
    assert b"secret" not in contents.values()


AS_NOBODY = """
import io, os, sys, pathlib
from runner.archives.pack import pack_directory
from runner.archives.signature import signature
os.setgroups([]); os.setgid(65534); os.setuid(65534)
tree = pathlib.Path(sys.argv[1])
found = pack_directory(tree, io.BytesIO())
print(found.members, found.left_out)
signature(tree)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Make a directory that every user can reach; pytest's own ones are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_is_left_out(open_to_all: Path) -> None:
    """A daemon without root's rights packs the rest and says what it could not."""
    (open_to_all / "closed").mkdir(mode=0o700)
    (open_to_all / "listed").mkdir(mode=0o744)
    (open_to_all / "listed" / "inside").touch(mode=0o644)
    (open_to_all / "file").touch(mode=0o600)
    (open_to_all / "mine").touch(mode=0o644)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(open_to_all)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    assert done.stdout == (
        "3 [('closed', 'it cannot be entered: Permission denied'), "
        "('file', 'it cannot be read: Permission denied'), "
        "('listed/inside', 'it cannot be looked at: Permission denied')]\n"
    )
