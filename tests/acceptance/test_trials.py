"""What a daemon tried before it began is nobody's when it was killed: the next one removes it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until

#: A daemon that tries a sandbox in which nothing ever ends.
_TRIES = """
import dataclasses, sys
from pathlib import Path
import anyio
from runner.app.places import Places
from runner.app.trials import trial
from runner.sandboxes.plain import PlainSandbox

class Hanging(PlainSandbox):
    def launch(self, command):
        asleep = dataclasses.replace(command, argv=("/bin/sleep", sys.argv[2]))
        return super().launch(asleep)

anyio.run(trial, Hanging(), Places(Path(sys.argv[1]), "owner", None, "root"))
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def trials(box: Box) -> list[Path]:
    """Return the directories in which something is tried."""
    return [*box.state.glob(".trial-*"), *(box.state / "work").glob(".overlay-*")]


#: Nobody else on this machine sleeps exactly so long.
LONG = str(1_000_000 + os.getpid())


def asleep() -> bool:
    """Tell whether what was tried goes on."""
    words = f"/bin/sleep\0{LONG}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cmdline").read_bytes() == words:
                return True
    return False


@contextmanager
def trying(box: Box) -> Iterator[subprocess.Popen[bytes]]:
    """Have something tried that does not end."""
    box.state.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _TRIES, str(box.state), LONG]
    with subprocess.Popen(command, env=box.environ()) as daemon:
        try:
            until(lambda: asleep() or None, "the trial")
            yield daemon
        finally:
            daemon.kill()


def test_what_a_killed_daemon_tried_is_ended_and_removed(box: Box) -> None:
    """Its directories and its processes; what looks alike and is others' stays."""
    with trying(box):
        pass
    work = box.state / "work"
    for name in (".overlay-0123", ".doctor-0123", ".doctor-4567"):
        (work / name).mkdir(parents=True)
    os.utime(work / ".doctor-4567", (0, 0))
    assert len(trials(box)) == 2
    assert asleep()
    daemon = box.start()
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
    assert trials(box) == []
    assert not asleep()
    assert (work / ".doctor-0123").exists()  # it was made just now
    assert not (work / ".doctor-4567").exists()
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def test_what_somebody_is_trying_is_left_alone(box: Box) -> None:
    """Who could that be? Whoever it is: it works on as if nothing was."""
    with trying(box) as other:
        (place,) = trials(box)
        daemon = box.start()
        assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
        assert trials(box) == [place]
        assert asleep()
        assert other.poll() is None
        assert "is not removed" in box.log()
        assert box.drain(daemon) == 0
    daemon = box.start()
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
    assert (trials(box), asleep()) == ([], False)
    assert box.drain(daemon) == 0
    assert box.complaints() == []
