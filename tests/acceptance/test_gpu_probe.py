"""The daemon and the process that asks its driver: one, as long as the daemon lives, no longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.box import Box, until
from tests.servers.nvml import Card, Nvml

pytestmark = pytest.mark.service("nvml")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def _asking(pid: int) -> list[psutil.Process]:
    """Return the children of a daemon, the dead ones included, that ask the driver."""
    children = psutil.Process(pid).children()
    return [one for one in children if _is_zombie(one) or "nvml/main.py" in str(one.cmdline())]


def _is_zombie(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_ZOMBIE


def test_one_process_asks_and_none_is_left_by_a_reload(box: Box, nvml: Nvml) -> None:
    """The daemon that takes over asks by one of its own; that of the other has seen the end."""
    nvml.cards = [Card(), Card()]
    daemon = box.start("--gpu-look", "1s", variables=nvml.variables)
    until(lambda: "waiting for experiments" in box.log() or None, "the start", box.log)
    (first,) = _asking(daemon.pid)
    daemon.send_signal(1)
    until(lambda: box.log().count("waiting for experiments") == 2 or None, "a reload", box.log)

    def second() -> psutil.Process | None:
        found = _asking(daemon.pid)
        return found[0] if len(found) == 1 and found[0] != first else None

    replacement = until(second, "one process that asks", box.log)
    assert box.drain(daemon) == 0
    assert not first.is_running()
    assert not replacement.is_running()
    assert not box.complaints()


def test_a_driver_that_hangs_keeps_no_daemon_from_leaving(box: Box, nvml: Nvml) -> None:
    """Nor does its process stay."""
    nvml.cards = [Card()]
    daemon = box.start("--gpu-look", "1s", variables=nvml.variables)
    until(lambda: "waiting for experiments" in box.log() or None, "the start", box.log)
    (asking,) = _asking(daemon.pid)
    nvml.hang()
    # A call that hangs in this driver sleeps over and over; between looks nothing happens.
    before = asking.num_ctx_switches().voluntary
    until(lambda: asking.num_ctx_switches().voluntary > before + 50 or None, "a call that hangs")
    assert box.drain(daemon) == 0
    assert not asking.is_running()
    assert not box.complaints()
