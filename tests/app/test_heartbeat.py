"""What the service manager hears, and when it hears nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from runner.app.heartbeat import Heartbeat
from runner.app.notify import Notify, more_time, reloading, status
from runner.lifecycle.ownership.pulse import Organ, Pulse


class Life:
    """A daemon whose time and organs the test moves."""

    def __init__(self, watchdog: timedelta | None = timedelta(seconds=60)) -> None:
        self.now = 1000.0
        self.pulse = Pulse(clock=lambda: self.now)
        self.sentence = "0 running"
        self.is_ending = False
        self.heart = Heartbeat(
            Notify("@nobody", watchdog),
            self.pulse,
            sentence=lambda: self.sentence,
            is_ending=lambda: self.is_ending,
            clock=lambda: self.now,
        )

    def after(self, seconds: float, *, beating: tuple[Organ, ...] = tuple(Organ)) -> list[str]:
        """Let time pass, and return what is said then."""
        self.now += seconds
        for organ in beating:
            self.pulse.beat(organ)
        return self.heart.due()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket, to be read without waiting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(60)
        yield receiver


def test_a_sign_of_life_is_given_at_half_of_the_watchdogs_patience() -> None:
    """Neither more often nor later, and the standing only when it has changed."""
    life = Life()
    assert life.after(0) == ["STATUS=0 running", "WATCHDOG=1"]
    assert life.after(29) == []
    assert life.after(1) == ["WATCHDOG=1"]
    life.sentence = "1 running"
    assert life.after(1) == ["STATUS=1 running"]


@pytest.mark.parametrize("stuck", list(Organ))
def test_who_makes_no_progress_gives_no_sign_of_life(stuck: Organ) -> None:
    """One stuck part is enough, and the manager is told which one it is."""
    life = Life()
    life.after(0)
    others = tuple(set(Organ) - {stuck})
    assert life.after(30, beating=others) == ["WATCHDOG=1"]
    (said,) = life.after(30, beating=others)
    assert said == f"STATUS=the {stuck} has made no progress for 60 s"
    assert life.after(300, beating=others)[0].startswith("STATUS=")
    assert life.after(1) == ["STATUS=0 running", "WATCHDOG=1"]


def test_without_a_watchdog_nothing_is_said_for_it() -> None:
    """The manager may not want signs of life."""
    life = Life(watchdog=None)
    assert life.after(0) == ["STATUS=0 running"]
    assert life.after(3600) == []


def test_a_drain_is_told_once_and_asks_for_time_again_and_again() -> None:
    """A drain that takes hours is not cut off by the manager's patience with stopping."""
    life = Life(watchdog=None)
    life.after(0)
    life.is_ending = True
    assert life.after(1) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=60000000"]
    assert life.after(5) == []
    assert life.after(5) == ["EXTEND_TIMEOUT_USEC=60000000"]


def test_lines_are_sent_in_one_message(manager: socket.socket) -> None:
    """A path or an abstract name, and a status that stays on its line."""
    notify = Notify.told_by({"NOTIFY_SOCKET": manager.getsockname()})
    notify.say("READY=1", status("two\nlines"))
    assert manager.recv(1000) == b"READY=1\nSTATUS=two lines"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind("")
        abstract.settimeout(60)
        name = abstract.getsockname()[1:].decode()
        Notify.told_by({"NOTIFY_SOCKET": f"@{name}"}).say(*reloading())
        first, second = abstract.recv(1000).decode().splitlines()
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdecimal()


@pytest.mark.parametrize(
    ("variables", "address", "watchdog"),
    [
        ({}, "", None),
        ({"WATCHDOG_USEC": "5000000"}, "", None),
        ({"NOTIFY_SOCKET": "/run/x"}, "/run/x", None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, "", None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000"}, "@x", timedelta(seconds=5)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, "@x", None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, "@x", None),
    ],
)
def test_what_systemd_gives_its_services_is_read(
    variables: dict[str, str], address: str, watchdog: timedelta | None
) -> None:
    """A watchdog that is meant for another process is none of ours."""
    notify = Notify.told_by(variables)
    assert (notify.address, notify.watchdog) == (address, watchdog)


def test_a_manager_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    """Nor is one that does not read."""
    Notify(str(tmp_path / "nobody")).say("READY=1")
    Notify().say("READY=1")
    assert more_time(timedelta(seconds=2)) == "EXTEND_TIMEOUT_USEC=2000000"


@pytest.mark.anyio
async def test_a_heart_that_a_defect_stops_is_no_daemon_that_stops(manager: socket.socket) -> None:
    """The manager would end a daemon that said so, while it only has to be begun anew."""
    life = Life()
    life.heart.notify = Notify(manager.getsockname(), timedelta(seconds=0.04))

    said = ["0 running"]
    life.heart.sentence = said.pop  # and then there is none
    with pytest.raises(IndexError):
        await life.heart.beat()
    life.heart.sentence = lambda: "1 running"
    async with anyio.create_task_group() as group:
        group.start_soon(life.heart.beat)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    manager.setblocking(False)  # noqa: FBT003 - its one and only argument
    heard = []
    with suppress(BlockingIOError):
        while True:
            heard.append(manager.recv(1000).decode().splitlines())
    assert [lines[0] for lines in heard] == ["READY=1", "READY=1", "STOPPING=1"]
