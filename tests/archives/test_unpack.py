"""Archives from elsewhere are unpacked into their directory, or refused in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.archives.unpack import Unpacked, empty, file_name_of, place_file, unpack
from runner.blocking import Interrupted, Stop
from runner.errors import ArtifactBad, BadField, OutOfDisk
from runner.model import Bytes

PLENTY = Bytes(1 << 30)


class Forward(io.RawIOBase):
    """A stream as a network gives it: short reads, no way back."""

    def __init__(self, data: bytes, most: int = 7000) -> None:
        super().__init__()
        self._inner = io.BytesIO(data)
        self._most = most
        self.taken = 0

    def readable(self) -> bool:
        """Only forward."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Give a part of what is asked for."""
        wanted = self._most if size is None or size < 0 else min(size, self._most)
        piece = self._inner.read(wanted)
        self.taken += len(piece)
        return piece


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """Make a header by hand."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar_of(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Make an archive of headers and their content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            info, content = each if isinstance(each, tuple) else (each, b"")
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def file_of(name: str, content: bytes = b"content") -> tuple[tarfile.TarInfo, bytes]:
    """Make a member."""
    return member(name), content


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Return an empty directory beside a secret."""
    (tmp_path / "secret").write_text("secret")
    made = tmp_path / "label"
    made.mkdir()
    return made


def run(data: bytes, into: Path, budget: int = PLENTY, **options: int) -> Unpacked:
    """Unpack a stream that cannot be rewound."""
    return unpack(Forward(data), into, budget=Bytes(budget), **options)  # type: ignore[arg-type]
    # an io.RawIOBase is all of BinaryIO that is used


def refused(data: bytes, into: Path, match: str, **options: int) -> None:
    """Expect ArtifactBad and an empty directory, and nothing beside it."""
    beside = sorted(into.parent.iterdir())
    with pytest.raises(ArtifactBad, match=match) as caught:
        run(data, into, **options)
    assert len(str(caught.value)) < 400
    assert list(into.iterdir()) == []
    assert sorted(into.parent.iterdir()) == beside
    assert (into.parent / "secret").read_text() == "secret"


# ------------------------------------------------------------------------- what is accepted


@pytest.mark.parametrize(
    "compress",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(512),
        lambda data: bz2.compress(data[:5000]) + bz2.compress(data[5000:]),
        lambda data: lzma.compress(data[:5000]) + bytes(4) + lzma.compress(data[5000:]),
    ],
    ids=["plain", "gzip", "bzip2", "xz", "gzip twice", "bzip2 twice", "xz twice"],
)
def test_compression_is_recognised(compress: Callable[[bytes], bytes], into: Path) -> None:
    """The bytes decide, several concatenated streams and padding included."""
    content = CHANCE.randbytes(100_000)
    found = run(compress(tar_of(file_of("a/b", content))), into)
    assert found == Unpacked(Bytes(len(content)), 1)
    assert (into / "a" / "b").read_bytes() == content


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_tar_formats_are_read(form: int, into: Path, tmp_path: Path) -> None:
    """What tar and Python write, with long names where the format has them."""
    source = tmp_path / "source"
    long = "/".join(["d" * 60] * 3)
    (source / long).mkdir(parents=True)
    (source / long / "file").write_bytes(b"x" * 1000)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        archive.add(source, ".")
    run(file.getvalue(), into)
    assert (into / long / "file").read_bytes() == b"x" * 1000


def test_modes_times_and_links_are_kept(into: Path) -> None:
    """Permissions without set-id bits, times to the microsecond, both kinds of links."""
    run(
        tar_of(
            member("dir", tarfile.DIRTYPE, mode=0o2750, mtime=1_600_000_000.25),
            (member("dir/script", mode=0o6751, mtime=1_500_000_000.123456), b"#!"),
            member("dir/link", tarfile.SYMTYPE, linkname="../dir/script"),
            member("hard", tarfile.LNKTYPE, linkname="dir/script"),
            member("dangling", tarfile.SYMTYPE, linkname="not/yet"),
        ),
        into,
    )
    assert stat.S_IMODE((into / "dir").stat().st_mode) == 0o750
    assert (into / "dir").stat().st_mtime == 1_600_000_000.25
    script = (into / "dir" / "script").stat()
    assert stat.S_IMODE(script.st_mode) == 0o751
    assert script.st_mtime_ns == 1_500_000_000_123_456_000
    assert (into / "dir" / "link").readlink() == Path("../dir/script")
    assert (into / "hard").stat().st_ino == script.st_ino
    assert (into / "dangling").is_symlink()


def test_a_directory_without_rights_can_be_filled_and_removed(into: Path) -> None:
    """A directory of mode 0 keeps its owner's access, so that its content arrives."""
    run(tar_of(member("d", tarfile.DIRTYPE, mode=0), file_of("d/x")), into)
    assert (into / "d" / "x").read_bytes() == b"content"
    assert stat.S_IMODE((into / "d").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["..data", "...", "a/..b", "-rf", "new\nline", "ü", "a\\b", " "])
def test_odd_names_are_fine(name: str, into: Path) -> None:
    """Names that only look like a way out are names."""
    run(tar_of(file_of(name)), into)
    assert (into / name).read_bytes() == b"content"


def test_the_root_entry_is_no_member(into: Path) -> None:
    """``.`` and ``./`` say nothing; names with and without ``./`` are the same."""
    data = tar_of(member(".", tarfile.DIRTYPE), member("./", tarfile.DIRTYPE), file_of("./a//b"))
    run(data, into)
    assert (into / "a" / "b").read_bytes() == b"content"


def test_the_last_of_equal_names_wins(into: Path) -> None:
    """As with tar's own appending; a link is replaced and not written through."""
    data = tar_of(
        file_of("a", b"one"),
        member("a", tarfile.SYMTYPE, linkname="b"),
        file_of("b", b"kept"),
        file_of("a", b"two"),
    )
    run(data, into)
    assert (into / "a").read_bytes() == b"two"
    assert (into / "b").read_bytes() == b"kept"


def test_an_archive_without_members_is_one(into: Path) -> None:
    """A result may be empty."""
    assert run(tar_of(), into) == Unpacked(Bytes(0), 0)


def test_a_sparse_file_has_its_whole_content(into: Path, tmp_path: Path) -> None:
    """GNU tar's holes are zeros."""
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    archive = tmp_path / "sparse.tar"
    subprocess.run(["tar", "-S", "-cf", archive, "-C", tmp_path, "sparse"], check=True)  # noqa: S607 - any
    assert archive.stat().st_size < 100_000
    run(archive.read_bytes(), into)
    assert (into / "sparse").read_bytes() == bytes(1 << 20) + b"end"


def test_zip_archives_are_read(into: Path) -> None:
    """Directories, files with their mode, and links, although zip cannot be streamed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dir/", b"")
        script = zipfile.ZipInfo("dir/script", (2020, 1, 2, 3, 4, 6))
        script.external_attr = 0o100755 << 16
        archive.writestr(script, b"#!" * 1000)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, b"dir/script")
    assert run(file.getvalue(), into).bytes == 2000
    assert (into / "link").read_bytes() == b"#!" * 1000
    assert stat.S_IMODE((into / "dir" / "script").stat().st_mode) == 0o755
    assert (into / "dir" / "script").stat().st_mtime % 60 == 6


# ------------------------------------------------------------------------- what is refused

OUTSIDE = [
    (tar_of(file_of("/etc/passwd")), "absolute"),
    (tar_of(file_of("../secret")), "leaves"),
    (tar_of(file_of("a/../../secret")), "leaves"),
    (tar_of(member("..", tarfile.DIRTYPE)), "leaves"),
    (tar_of(member("l", tarfile.SYMTYPE, linkname="/etc")), "outside"),
    (tar_of(member("l", tarfile.SYMTYPE, linkname="../secret")), "outside"),
    (tar_of(member("d/l", tarfile.SYMTYPE, linkname="../../secret")), "outside"),
    (tar_of(member("l", tarfile.SYMTYPE, linkname="d/../../secret")), "outside"),
    (tar_of(member("l", tarfile.SYMTYPE, linkname="d"), file_of("l/x")), "link or a file"),
    (tar_of(member("l", tarfile.SYMTYPE, linkname="."), file_of("l/x")), "link or a file"),
    (
        tar_of(
            member("here", tarfile.SYMTYPE, linkname="."),
            member("out", tarfile.SYMTYPE, linkname="here/../secret"),
        ),
        "outside",
    ),
    (
        tar_of(
            member("out", tarfile.SYMTYPE, linkname="d/here/../../secret"),
            member("d/here", tarfile.SYMTYPE, linkname=".."),
        ),
        "outside",
    ),
    (tar_of(member("h", tarfile.LNKTYPE, linkname="../secret")), "leaves"),
    (tar_of(member("h", tarfile.LNKTYPE, linkname="/etc/passwd")), "absolute"),
    (tar_of(member("h", tarfile.LNKTYPE, linkname="nothing")), "cannot be made"),
    (
        tar_of(
            member("a/b/l", tarfile.SYMTYPE, linkname="../../x"),
            member("h", tarfile.LNKTYPE, linkname="a/b/l"),
        ),
        "outside",
    ),
    (
        tar_of(member("a/b", tarfile.DIRTYPE), member("a/c", tarfile.LNKTYPE, linkname="a/b")),
        "hard link to a directory",
    ),
    (tar_of(member("d", tarfile.CHRTYPE, devmajor=1, devminor=3)), "device"),
    (tar_of(member("d", tarfile.BLKTYPE)), "device"),
    (tar_of(member("p", tarfile.FIFOTYPE)), "named pipe"),
    (tar_of(file_of("a"), file_of("a/b")), "link or a file"),
    (tar_of(file_of("a/b"), file_of("a")), "link or a file"),
    (tar_of(file_of("n" * 300)), "too long"),
    (tar_of(file_of("/".join("d" * 200))), "levels deep"),
    (tar_of(file_of(".")), "no possible file name"),
]


@pytest.mark.parametrize(("data", "match"), OUTSIDE)
def test_hostile_members_are_refused(data: bytes, match: str, into: Path) -> None:
    """Whatever leaves the directory, or is no file, ends the unpacking with its reason."""
    refused(data, into, match)


def test_more_bytes_than_allowed_are_refused(into: Path) -> None:
    """The sum of all files counts, and exactly the budget is allowed."""
    data = tar_of(file_of("a", bytes(600)), file_of("b", bytes(400)))
    assert run(data, into, 1000).bytes == 1000
    empty(into)
    refused(data, into, "more than the 999 bytes", budget=999)


def test_more_members_than_allowed_are_refused(into: Path) -> None:
    """Empty files cost inodes, and so do the directories that a name asks for."""
    data = tar_of(*(file_of(str(number)) for number in range(11)))
    refused(data, into, "more than 10 members", max_members=10)
    refused(tar_of(file_of("/".join("d" * 100))), into, "more than 10 dir", max_members=10)


def bomb(compress: Callable[[bytes], bytes]) -> Forward:
    """Make ten GB of zeros of a few kB."""
    head = member("zeros", size=10 << 30).tobuf()
    return Forward(compress(head) + compress(bytes(64 << 20)) * 160)


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress], ids=["bzip2", "gzip"])
def test_a_bomb_is_not_even_lit(compress: Callable[[bytes], bytes], into: Path) -> None:
    """A header that promises too much is enough."""
    stream = bomb(compress)
    with pytest.raises(ArtifactBad, match="unpacks to more"):
        unpack(stream, into, budget=Bytes(1 << 20))  # type: ignore[arg-type]
    assert stream.taken < 600_000
    assert list(into.iterdir()) == []


def test_a_bomb_behind_the_end_mark_stops_at_the_budget(into: Path) -> None:
    """What follows the archive is read to check it, and that is bounded, too."""
    stream = Forward(bz2.compress(tar_of(file_of("a"))) + bz2.compress(bytes(64 << 20)) * 160)
    with pytest.raises(ArtifactBad, match="more than"):
        unpack(stream, into, budget=Bytes(32 << 20))  # type: ignore[arg-type]
    assert stream.taken < 10_000
    assert list(into.iterdir()) == []


def sparse(size: int, *chart: int, stored: int = 512) -> bytes:
    """Make an archive of a file of ``size`` with a map of its data, and of another file."""
    head = b"".join(b"%d\n" % number for number in (len(chart) // 2, *chart)).ljust(512, b"\0")
    info = member("sparse", size=512 + stored)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(size),
    }
    return tar_of((info, head + b"x" * stored), file_of("other"))


def test_holes_take_nothing_of_the_budget(into: Path) -> None:
    """What counts is what lies on the disk; and data at odd places come where they belong."""
    assert run(sparse(1 << 40, 5, 500, 1 << 39, 12), into, budget=519).bytes == 519
    assert (into / "sparse").stat().st_blocks * 512 <= 2 * 4096
    with (into / "sparse").open("rb") as file:
        assert file.read(600) == bytes(5) + b"x" * 500 + bytes(95)
        assert file.seek((1 << 39) - 1)
        assert file.read(14) == b"\0" + b"x" * 12 + b"\0"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (sparse(1 << 40, 0, 1 << 39), "unpacks to more"),
        (sparse(1 << 40, 0, 5000), "backwards|truncated"),
        (sparse(1000, 0, 500, 400, 12), "overlap"),
        (sparse(1000, 500, 100, 0, 12), "overlap"),
        (sparse(1000, 900, 101), "overlap"),
        (sparse(1000, -5, 10), "overlap"),
        (sparse(1000, 0, -10, 900, 100), "overlap"),
        (sparse(-5, 0, 0), "impossible"),
        (sparse(10**40, 0, 5), "impossible"),
        (sparse(1 << 60, 0, 5), "too large"),
        (sparse(1000, *range(0, 1 << 18, 2)), "no archive"),
    ],
)
def test_a_hostile_map_of_data_is_refused(data: bytes, match: str, into: Path) -> None:
    """Data beyond the budget, the file, the archive or each other, and files nobody can have."""
    refused(data, into, match)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_endless_header_costs_no_memory(kind: bytes, into: Path) -> None:
    """A gigabyte of header in a kilobyte is refused before it is read."""
    head = member("x", kind, size=1 << 30).tobuf()
    stream = bz2.compress(head) + bz2.compress(bytes(16 << 20)) * 64
    refused(stream, into, "absurdly long|no archive", budget=2 << 30)


def test_a_chain_of_headers_is_refused(into: Path) -> None:
    """Headers of headers of headers are no archive."""
    body = b"11 path=xy\n".ljust(512, b"\0")
    refused(
        (member("x", tarfile.XHDTYPE, size=11).tobuf() + body) * 5000,
        into,
        "absurdly long|no archive",
    )
    data = tar_of(file_of("a"))[:1024]
    refused(
        data + (member("x", tarfile.XHDTYPE, size=11).tobuf() + body) * 5000,
        into,
        "absurdly long|corrupt",
    )


def test_a_header_of_digits_is_refused(into: Path) -> None:
    """A header made to keep the pattern matcher busy is recognised."""
    head = member("x", tarfile.XHDTYPE, size=200 << 10).tobuf()
    refused(tar_of(file_of("a"))[:1024] + head + b"1" * (200 << 10), into, "nonsense")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b'{"error": 1}', "JSON"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd data, which is not supported"),
        (b"\x01\x02 random", "no archive: it begins with b'"),
        (b"\x80\x04\x95" + bytes(600), "pickle"),
        (
            gzip.compress(b"weights, not an archive", mtime=0),
            "no archive: it begins with b'weights",
        ),
        (gzip.compress(b"", mtime=0), "nothing in it"),
        (b"PK\x03\x04" + bytes(50), "zip archive cannot be read"),
        (bz2.compress(b"x")[:10], "truncated"),
        (b"BZh9" + b"\xff" * 50, "bzip2 data are corrupt"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, match: str, into: Path) -> None:
    """The sentence says what the object looks like."""
    refused(data, into, match)


CHANCE = random.Random(7)  # noqa: S311 - reproducible, not secret
BODY = tar_of(file_of("a", CHANCE.randbytes(3000)), file_of("b", CHANCE.randbytes(3000)))


@pytest.mark.parametrize("length", [100, 700, 4000, 4608, 5000, 7168, 7200])
def test_a_truncated_tar_is_refused(length: int, into: Path) -> None:
    """Also when it ends exactly between two members, where tarfile sees no fault."""
    refused(BODY[:length], into, "truncated|no archive|corrupt")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_truncated_compressed_tar_is_refused(
    compress: Callable[[bytes], bytes], into: Path
) -> None:
    """Wherever it was cut, the check sum at the very end included."""
    whole = compress(BODY)
    for cut in (8, 20, 2000, len(whole) - 1000, len(whole) - 5, len(whole) - 1):
        refused(whole[:cut], into, "truncated|nothing in it")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_flipped_bit_is_noticed(compress: Callable[[bytes], bytes], into: Path) -> None:
    """Check sums are looked at."""
    whole = bytearray(compress(BODY))
    whole[len(whole) // 2] ^= 4
    refused(bytes(whole), into, "corrupt|truncated|nonsense|no archive")


def test_a_corrupt_header_in_the_middle_is_noticed(into: Path) -> None:
    """It is no end of the archive."""
    broken = bytearray(BODY)
    broken[3584 + 1] ^= 1
    refused(bytes(broken), into, "corrupt")


def test_garbage_behind_compressed_data_is_refused(into: Path) -> None:
    """Two files glued together are a mistake that somebody should hear of."""
    refused(gzip.compress(BODY) + b"garbage", into, "something else follows")


# ------------------------------------------------------------------------- all or nothing


def test_an_interruption_leaves_nothing(into: Path) -> None:
    """A check that ends the work ends it between two pieces of one member."""
    stop = Stop()
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 5:
            stop.set()
        stop.check()

    data = bz2.compress(tar_of(file_of("a", bytes(8 << 20))))
    with pytest.raises(Interrupted):
        unpack(io.BytesIO(data), into, budget=PLENTY, check=check)
    assert list(into.iterdir()) == []


def test_a_directory_that_is_not_empty_is_not_touched(into: Path) -> None:
    """The promise to leave nothing could not be kept."""
    (into / "mine").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        run(BODY, into)
    assert (into / "mine").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a filesystem of one MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small filesystem here")
    yield mount
    subprocess.run(["umount", mount], check=True)  # noqa: S607 - wherever the system has it


def test_a_full_disk_is_the_hosts_fault(small_disk: Path) -> None:
    """Not the archive's; and what was written is gone."""
    with pytest.raises(OutOfDisk):
        run(tar_of(file_of("a", bytes(4 << 20))), small_disk)
    assert list(small_disk.iterdir()) == []
    with pytest.raises(OutOfDisk):
        place_file(io.BytesIO(bytes(4 << 20)), small_disk / "x", budget=PLENTY)
    assert list(small_disk.iterdir()) == []


# ------------------------------------------------------------------------- single files


def test_a_file_is_placed_whole(tmp_path: Path) -> None:
    """It replaces what was there; beyond the budget, nothing changes."""
    path = tmp_path / "model.bin"
    assert place_file(io.BytesIO(b"12345"), path, budget=Bytes(5)) == 5
    with pytest.raises(ArtifactBad, match="larger than the 4 bytes"):
        place_file(io.BytesIO(b"54321"), path, budget=Bytes(4))
    assert path.read_bytes() == b"12345"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("key", "name"), [("a/b/c.bin", "c.bin"), ("..x", "..x"), ("/data/m", "m")]
)
def test_a_file_is_called_like_its_key(key: str, name: str) -> None:
    """The last part of the key."""
    assert file_name_of(key) == name


@pytest.mark.parametrize("key", ["", "a/", "..", "a/..", "a/.", "a\0b"])
def test_a_key_without_a_name_is_refused(key: str) -> None:
    """The sender must write another one."""
    with pytest.raises(BadField, match="name of a file"):
        file_name_of(key)
