"""Artifacts that are no archives, escape, explode or lie where they must not."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, packed

ZEROS = 45_000_000


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One machine and one daemon for all artifacts of this file, and secrets beside its store."""
    with Box(tmp_path_factory.mktemp("artifacts")) as box:
        (box.root / "certs").mkdir()
        (box.root / "certs" / "key.tar").write_bytes(packed({"train.py": "print('a secret')"}))
        (box.root / "outside").mkdir()
        box.start("--certs-dir", str(box.root / "certs"))
        yield box


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO(packed({"train.py": "print('never')"}))
    with tarfile.open(fileobj=stream, mode="a") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _bomb(_: Path) -> bytes:
    """10 GB of zeros in 10 kB: streams that follow each other are one to their reader."""
    info = _member("train.py")
    info.size = 230 * ZEROS
    head = info.tobuf(tarfile.GNU_FORMAT)
    return bz2.compress(head) + 230 * bz2.compress(bytes(ZEROS)) + bz2.compress(bytes(1024))


BAD: dict[str, tuple[Callable[[Path], bytes], tuple[str, ...]]] = {
    "text": (lambda _: b"print('hello')\n" * 100, ("no archive", "it begins with")),
    "a-web-page": (lambda _: b"<html><body>403</body></html>", ("no archive", "HTML")),
    "empty": (lambda _: b"", ("empty",)),
    "truncated": (lambda _: packed({"train.py": "x" * 5000})[:3000], ("truncated",)),
    "truncated-gzip": (
        lambda _: gzip.compress(packed({"train.py": os.urandom(4000).hex()}))[:-900],
        ("truncated", "gzip"),
    ),
    "corrupt-gzip": (
        lambda _: gzip.compress(packed({"train.py": "x" * 5000}))[:30] + bytes(300),
        ("gzip data are corrupt",),
    ),
    "absolute": (
        lambda outside: _tar((_member(f"{outside}/planted"), b"x")),
        ("planted", "an absolute path"),
    ),
    "upwards": (lambda _: _tar((_member("../../../../outside/planted"), b"x")), ("leaves",)),
    "link-out": (
        lambda outside: _tar((_member("way", tarfile.SYMTYPE, str(outside)), b"")),
        ("'way'", "outside its directory"),
    ),
    "link-then-below": (
        lambda outside: _tar(
            (_member("way", tarfile.SYMTYPE, str(outside)), b""), (_member("way/planted"), b"x")
        ),
        ("'way'",),
    ),
    "inner-link-then-below": (
        lambda _: _tar(
            (_member("dir", tarfile.DIRTYPE), b""),
            (_member("way", tarfile.SYMTYPE, "dir"), b""),
            (_member("way/planted"), b"x"),
        ),
        ("'way/planted'", "link"),
    ),
    "hard-link-out": (
        lambda _: _tar((_member("passwd", tarfile.LNKTYPE, "/etc/passwd"), b"")),
        ("'/etc/passwd'", "an absolute path"),
    ),
    "device": (lambda _: _tar((_member("null", tarfile.CHRTYPE), b"")), ("'null'", "a device")),
    "bomb": (
        _bomb,
        ("unpacks to more than the 64000000 bytes", "disk need", "resources_needed.hdd"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_workspace_fails_the_experiment(box: Box, case: str) -> None:
    """Nothing is run or planted; the stored output names the artifact, the trouble and a remedy."""
    make, words = BAD[case]
    workspace = make(box.root / "outside")
    assert len(workspace) < 50_000
    key = box.submit("", workspace=workspace)
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["exit_code"], outcome["attempt"]) == ("artifact-bad", None, 1)
    output = box.output(key)
    assert [word for word in ("artifact 'workspace'", *words) if word not in output] == []
    assert output.count("studio-runner: ") == 2
    assert list((box.root / "outside").iterdir()) == []
    assert box.ended(key)["settled"] == "acked"


def test_a_bomb_costs_neither_memory_nor_disk(box: Box) -> None:
    """The daemon stops at the budget: what it holds is what it always holds."""
    key = box.submit("", workspace=_bomb(box.root))
    assert box.outcome(key)["cause"] == "artifact-bad"
    assert box.peak_memory() < 200 << 20
    box.wait_until_clean()
    assert sum(file.stat().st_size for file in box.state.rglob("*") if file.is_file()) < 100 << 20


def test_a_missing_script_is_named_with_what_is_there(box: Box) -> None:
    """The reason is in the dead letter and in the stored output."""
    message = box.message("print('never')", filename="src/main.py")
    key = box.publish(message)
    assert box.outcome(key)["cause"] == "bad-request"
    output = box.output(key)
    assert "experiment.filename is 'src/main.py'" in output
    assert "there are: train.py" in output
    assert box.ended(key)["settled"] == "buried"


def test_a_workspace_that_is_not_there_is_named(box: Box) -> None:
    """The address is told, and what to do."""
    message = box.message("")
    workspace = message["experiment"]["artifacts"]["workspace"]
    workspace.update(box.artifact("blobstore/nothing.tar", mutable=False))
    key = box.publish(message)
    assert box.outcome(key)["cause"] == "artifact-missing"
    assert f"{box.storage}/blobstore/nothing.tar" in box.output(key)


def test_the_certs_are_out_of_reach(box: Box) -> None:
    """Whether named outright or by a link that lies in the store: nothing of them is read."""
    (box.storage / "blobstore" / "way").symlink_to(box.root / "certs")
    for address in (box.root / "certs/key.tar", box.storage / "blobstore/way/key.tar"):
        message = box.message("")
        artifact = message["experiment"]["artifacts"]["workspace"]
        artifact.update({"qualified": f"file://{address}", "key": None})
        key = box.publish(message)
        assert box.outcome(key)["cause"] == "artifact-missing"
        output = box.output(key)
        assert "artifact 'workspace' cannot be read" in output
        assert f"lies outside {box.root}/store" in output
        assert "--local-store-root" in output
        assert "a secret" not in output


def test_nothing_is_written_where_the_certs_are(box: Box) -> None:
    """An experiment whose results would go there is not run, and its message is kept."""
    message = box.message("print('ran')")
    artifacts = message["experiment"]["artifacts"]
    artifacts["output"].update({"qualified": f"file://{box.root}/certs/output.tar", "key": None})
    name = box.publish_message(message)
    reason = box.reason(name)
    assert "artifact 'output'" in reason
    assert f"lies outside {box.root}/store" in reason
    assert [path.name for path in (box.root / "certs").iterdir()] == ["key.tar"]
    assert f"{message['experiment']['key']} is running" not in box.log()


def test_a_store_that_is_not_spoken_here_is_named(box: Box) -> None:
    """The schemes that are known are told."""
    message = box.message("print('ran')")
    workspace = message["experiment"]["artifacts"]["workspace"]
    workspace.update({"qualified": "ftp://bucket/data.tar", "bucket": "bucket", "key": "data.tar"})
    name = box.publish_message(message)
    assert "has the storage scheme 'ftp' in " in box.reason(name)
    assert "known: file, gs, http, https, s3" in box.reason(name)


def test_after_all_of_that_the_daemon_is_well(box: Box) -> None:
    """A good experiment still completes, nothing is left behind, and the log has no traceback."""
    key = box.submit("print('here')")
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert box.complaints() == []
