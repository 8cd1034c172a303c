"""One host of several that take from one queue: its daemon is killed, comes back, sleeps."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.plan import BOTH, DAEMON, DRAIN, SLEEP, STOP, SUPERVISOR, SUSPEND, Fault
from tests.faults.wreck import Wreck

_SERVES = b"waiting for experiments"
_DRAINS = b'"draining'
_FAR = float("inf")


@dataclass
class Host:
    """A daemon with a state directory and locks of its own."""

    wreck: Wreck
    state: str
    options: tuple[str, ...]
    daemon: subprocess.Popen[bytes] | None = None
    #: When the daemon is to be started again, and when those asleep are to wake.
    _due: float = 0.0
    _wake: float = _FAR
    _down: float = 0.0
    _asleep: list[int] = field(default_factory=list)
    #: Since when it has been starting, where it does not serve yet.
    _starting: float | None = None
    _seen: int = 0
    _is_to_stop: bool = False

    def hit(self, fault: Fault, now: float) -> bool:
        """Inject a fault; tell whether there was anything to hit."""
        if self.daemon is None or self._asleep:
            return False
        if fault.act in {DAEMON, BOTH}:
            self._kill(now + fault.down)
        if fault.act in {SUPERVISOR, BOTH}:
            _signal(self.wreck.supervisors(self.state), signal.SIGKILL)
        if fault.act in {SUSPEND, SLEEP}:
            self._asleep = [self.daemon.pid]
            if fault.act == SLEEP:
                self._asleep += self._others()
            _signal(self._asleep, signal.SIGSTOP)
            self._wake = now + fault.down
        if fault.act in {DRAIN, STOP}:
            self._down, self._is_to_stop = fault.down, fault.act == STOP
            self._seen = self._size()
            self.daemon.send_signal(signal.SIGTERM)
        return True

    def tend(self, now: float) -> float | None:
        """Go on; return how long a daemon took, if it has just come to serve."""
        if now >= self._wake:
            self.wake()
        if self._is_to_stop and self.daemon is not None and self._has_said(_DRAINS):
            self.daemon.send_signal(signal.SIGTERM)
            self._is_to_stop = False
        if self.daemon is not None and self.daemon.poll() is not None:
            self._kill(now + self._down)
        if self.daemon is None and now >= self._due:
            self._seen = self._size()
            self.daemon = self.wreck.begin(*self.options, state=self.state)
            self._starting = now
        if self._starting is not None and self._has_said(_SERVES):
            took, self._starting = time.monotonic() - self._starting, None
            return took
        return None

    def wake(self) -> None:
        """Let everything here go on."""
        _signal(self._asleep, signal.SIGCONT)
        self._asleep, self._wake = [], _FAR

    @property
    def is_serving(self) -> bool:
        """It is up and awake, and takes messages."""
        return self.daemon is not None and self._starting is None and not self._asleep

    def _kill(self, due: float) -> None:
        assert self.daemon is not None
        self.wreck.kill(self.daemon)
        self.daemon, self._due, self._starting = None, due, None
        self._down, self._is_to_stop = 0.0, False

    def _others(self) -> list[int]:
        """Return the supervisors and experiments that run here."""
        found, ours = [], os.fsencode(self.wreck.root / self.state) + b"/"
        for pid in self.wreck.processes():
            with suppress(OSError):
                place = Path("/proc", str(pid))
                if ours in (place / "environ").read_bytes() + (place / "cmdline").read_bytes():
                    found.append(pid)
        return found

    def _size(self) -> int:
        log = self.wreck.root / f"{self.state}.log"
        return log.stat().st_size if log.exists() else 0

    def _has_said(self, text: bytes) -> bool:
        with (self.wreck.root / f"{self.state}.log").open("rb") as log:
            log.seek(self._seen)
            return text in log.read()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
