"""Tests of the dead letters that this machine keeps."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runner.errors import HostFault, OutOfDisk
from runner.model import Bytes, Message
from runner.queues.drawer import Drawer

MESSAGE = Message("id/../1", b"\x00{not json", "sqs_demo", 3)
QUEUE = "https://sqs.us-west-2.amazonaws.com/1/sqs_demo"


@pytest.fixture
def drawer(tmp_path: Path) -> Drawer:
    """Return an empty one, whose directory is not there yet."""
    return Drawer(tmp_path / "dead" / "letters", Bytes(1 << 20))


def test_a_letter_is_kept_as_it_came(drawer: Drawer) -> None:
    """Body byte for byte, with the reason, for its own queue alone."""
    drawer.put(QUEUE, MESSAGE, "no script")
    [letter] = drawer.all_of(QUEUE)
    assert (letter.message, letter.reason) == (MESSAGE, "no script")
    assert drawer.take(QUEUE, MESSAGE.id) == letter
    assert not drawer.all_of(QUEUE + "x")
    assert drawer.take(QUEUE, "another") is None


def test_a_letter_can_be_removed(drawer: Drawer) -> None:
    """What waits again is no dead letter; removing twice is removing once."""
    drawer.put(QUEUE, MESSAGE, "no script")
    drawer.remove(QUEUE, MESSAGE.id)
    drawer.remove(QUEUE, MESSAGE.id)
    assert not drawer.all_of(QUEUE)


def test_the_same_message_has_one_letter(drawer: Drawer) -> None:
    """Buried again, it has the newer reason."""
    drawer.put(QUEUE, MESSAGE, "first")
    drawer.put(QUEUE, MESSAGE, "second")
    assert [letter.reason for letter in drawer.all_of(QUEUE)] == ["second"]


def test_nobody_else_can_read_it(drawer: Drawer, tmp_path: Path) -> None:
    """Messages hold secrets: files 0600 below directories 0700, and nothing beside the letter."""
    drawer.put(QUEUE, MESSAGE, "no script")
    below = list((tmp_path / "dead" / "letters").rglob("*"))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in below if path.is_file()}
    assert modes == {0o600}
    assert len([path for path in below if path.is_file()]) == 1
    assert stat.S_IMODE((tmp_path / "dead" / "letters").stat().st_mode) == 0o700


def test_the_drawer_is_bounded(tmp_path: Path) -> None:
    """Where the letters have their fill, the message stays with the broker."""
    drawer = Drawer(tmp_path, Bytes(1000))
    drawer.put(QUEUE, MESSAGE, "no script")
    with pytest.raises(OutOfDisk, match="queue dead"):
        drawer.put(QUEUE, Message("2", bytes(2000), "sqs_demo"), "no script")
    assert len(drawer.all_of(QUEUE)) == 1


def test_a_torn_letter_hides_no_other(drawer: Drawer, tmp_path: Path) -> None:
    """A file that somebody broke is told of, and the rest is shown."""
    drawer.put(QUEUE, MESSAGE, "no script")
    [path] = (tmp_path / "dead" / "letters").rglob("*.json")
    path.with_name("torn.json").write_text('{"id": 1')
    assert len(drawer.all_of(QUEUE)) == 1


def test_a_disk_that_fails_is_said(tmp_path: Path) -> None:
    """The caller must not let the broker forget the message then."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFault, match="no dead letter can be kept"):
        Drawer(tmp_path / "file", Bytes(1000)).put(QUEUE, MESSAGE, "no script")
