"""Which key belongs to a queue, and how a directory may change below us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.privacy.keyring import Keyring
from tests.passage import open_to_all


def _parsed(text: str) -> str:
    if not text.startswith("key "):
        raise ValueError("no key")
    return text


def _ring(place: Path) -> Keyring[str]:
    return Keyring(place, _parsed)


def _put(path: Path, text: str, stamp: int = 0) -> None:
    path.write_text(text)
    os.utime(path, ns=(stamp, stamp))


def test_the_longest_beginning_decides(tmp_path: Path) -> None:
    """The queue's own name before all others."""
    for name in ("rmq_", "rmq_a", "rmq_ab", "sqs_"):
        _put(tmp_path / name, f"key {name}")
    ring = _ring(tmp_path)
    queues = ("rmq_ab", "rmq_abc", "rmq_a", "rmq_x", "local")
    found = [ring.find(queue) for queue in queues]
    assert found == ["key rmq_ab", "key rmq_ab", "key rmq_a", "key rmq_", None]


def test_what_changes_counts_at_once(tmp_path: Path) -> None:
    """A key that is added, exchanged or taken away, without a restart."""
    ring = _ring(tmp_path)
    assert ring.find("q") is None
    _put(tmp_path / "q", "key one", 1)
    assert ring.find("q") == "key one"
    _put(tmp_path / "q", "key two", 2)
    assert ring.find("q") == "key two"
    (tmp_path / "q").unlink()
    assert ring.find("q") is None


def test_a_mount_that_is_exchanged_is_followed(tmp_path: Path) -> None:
    """Kubernetes shows files by links, and changes where these lead; hidden names are its own."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        _put(tmp_path / f"..{version}" / "q", f"key {version}", 5)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "q").symlink_to("..data/q")
    ring = _ring(tmp_path)
    assert (ring.find("q"), ring.names) == ("key 1", ("q",))
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert ring.find("q") == "key 2"


def test_a_good_key_stays_when_its_file_is_spoilt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may be in the middle of being written; a file that was never good gives no key."""
    _put(tmp_path / "q", "key one", 1)
    _put(tmp_path / "bad", "nonsense", 1)
    _put(tmp_path / "info", "for a secret that must not be empty", 1)
    ring = _ring(tmp_path)
    assert (ring.find("q"), ring.find("bad")) == ("key one", None)
    _put(tmp_path / "q", "half", 2)
    assert ring.find("q") == "key one"
    assert "info" not in capfd.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become somebody who may not read")
def test_a_key_that_becomes_readable_is_read(tmp_path: Path) -> None:
    """Its content has not changed, and neither have its name, its size and its time."""
    open_to_all(tmp_path)
    _put(tmp_path / "q", "key one")
    (tmp_path / "q").chmod(0o600)
    ring = _ring(tmp_path)
    os.seteuid(65534)
    try:
        assert ring.find("q") is None
        os.seteuid(0)
        (tmp_path / "q").chmod(0o644)
        os.seteuid(65534)
        assert ring.find("q") == "key one"
    finally:
        os.seteuid(0)


def test_a_directory_that_is_gone_has_no_keys(tmp_path: Path) -> None:
    """And one that comes later is read."""
    ring = _ring(tmp_path / "later")
    assert (ring.find("q"), ring.names) == (None, ())
    (tmp_path / "later" / "folder").mkdir(parents=True)
    _put(tmp_path / "later" / "q", "key one")
    assert (ring.find("q"), ring.names) == ("key one", ("q",))
