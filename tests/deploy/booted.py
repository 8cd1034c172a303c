"""A machine whose process 1 is a real systemd, for as long as a test lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

SCRIPT = Path(__file__).with_name("boot.sh")
REPOSITORY = Path(__file__).parents[2]
#: Far more than anything here takes; a test that needs it has failed.
PATIENCE = 60.0
_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
_UP = {"running", "degraded"}

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, more: Callable[[], str] = str) -> T:
    """Wait until ``look`` returns something; ``more`` is told where it never does."""
    give_up = time.monotonic() + PATIENCE
    while (found := look()) is None or found is False:
        assert time.monotonic() < give_up, f"{what} did not come: {more()}"
        time.sleep(0.05)
    return found


class Machine:
    """One booted machine; ``shared`` is the same directory inside and outside."""

    def __init__(self, process: subprocess.Popen[bytes], shared: Path) -> None:
        self._process = process
        self.shared = shared

    @property
    def first(self) -> int:
        """The process that is number 1 inside; 0 before there is one."""
        pid = self._process.pid
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return int(words[0]) if words else 0

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command inside, and return what it printed."""
        inside = ("nsenter", f"--target={self.first}", "--all", "env", "-i", _PATH, "HOME=/root")
        done = subprocess.run(
            [*inside, *words], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def runner(self, *words: str, check: bool = True) -> str:
        """Run a command of studio-runner inside."""
        command = Path(sys.executable).with_name("studio-runner")
        return self.run(str(command), *words, check=check)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def scopes(self) -> list[str]:
        """Return the scopes of runs that are active."""
        words = ("list-units", "--plain", "--no-legend", "--full", "--state=active")
        printed = self.run("systemctl", *words, "studio-runner-run-*.scope")
        return [line.split()[0] for line in printed.splitlines()]

    def is_up(self) -> bool:
        """Tell whether systemd has reached its target."""
        assert self._process.poll() is None, "systemd ended"
        if not self.first or Path(f"/proc/{self.first}/comm").read_text() != "systemd\n":
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in _UP


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine; nothing of it is left afterwards."""
    scratch, shared, log = folder / "scratch", folder / "shared", folder / "boot.log"
    shared.mkdir()
    words = ("unshare", "--mount", "--propagation", "private", "sh", str(SCRIPT))
    with log.open("wb") as written:
        process = subprocess.Popen(
            # A mount of its own would not show through the copy of the root directory.
            [*words, str(scratch), str(REPOSITORY), str(shared)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    machine = Machine(process, shared)
    try:
        until(machine.is_up, "a booted machine", log.read_text)
        yield machine
    finally:
        _end(machine.first if process.poll() is None else 0)
        process.kill()
        process.wait()
        _remove_group(scratch, process.pid)


def _end(first: int) -> None:
    """Kill process 1, and with it all others; return when they are gone."""
    if not first:
        return
    descriptor = os.pidfd_open(first)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        until(lambda: _has_ended(first) or None, "the end of the machine")
    finally:
        os.close(descriptor)


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _remove_group(scratch: Path, pid: int) -> None:
    """Remove what the machine's processes were in."""
    look = (
        f"mount -t cgroup2 none {scratch}/group &&"
        f" find {scratch}/group/studio-runner-boot-{pid} -depth -type d -exec rmdir {{}} ';'"
    )
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-c", look)
    subprocess.run(words, check=False)
