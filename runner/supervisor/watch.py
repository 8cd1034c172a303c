"""One run from start to ``exit.json``: reads its output, keeps its limits, ends its processes."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time

from runner.supervisor import descriptors, evidence, leases, processes, records, syscalls
from runner.supervisor.bounds import Bounds, BoundsFailed
from runner.supervisor.countdown import KILL, ORPHANED, TERM, TERMINATED, Countdown
from runner.supervisor.launch import Launch
from runner.supervisor.output import Output, is_disk_full
from runner.supervisor.start import (
    SANDBOX_UNAVAILABLE,
    START_FAILED,
    StartFailed,
    check,
    start,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the module around it imports enum: 8 ms

_READ = 1 << 18
_PIPE_SIZE = 1 << 20
#: Seconds between two looks for a daemon that holds the run.
_PROBE = 5.0
#: Seconds between two rounds of killing.
_KILL_ROUND = 0.02
#: Processes that survive KILL for so long hang in the kernel (a dead NFS server, a GPU driver).
_HOPELESS = 15.0


def supervise(directory: bytes) -> None:
    """Run what ``directory`` says and leave ``exit.json`` there."""
    _be_alone(directory)
    wake = _listen()
    launch = Launch.take(directory)
    launch.env[processes.MARK] = os.fsencode(launch.run_id)
    before = evidence.begin(_own_scope(launch))
    bounds = Bounds(launch, directory)
    doing = "what the run shares with others cannot be kept for it"
    try:
        leases.hold(launch.leases)
        doing = "the run's files cannot be written"
        # A full disk must keep nobody from ending the run, nor us from saying how it ended.
        for name in (records.STOP, records.EXIT):
            records.reserve(directory, name)
        output = Output(launch.output, directory, launch.output_limit)
        bounds.begin()
    except BoundsFailed as failed:
        ending: dict[str, records.Value] = {"reason": SANDBOX_UNAVAILABLE, "detail": str(failed)}
    except OSError as error:
        ending = _not_begun(doing, error)
    else:
        ending = Watch(directory, launch, output, wake, bounds).run()
    counted = evidence.end(before)
    held = bounds.end(evidence.largest())
    report = records.flat_json({**ending, **counted, **held})
    records.write(directory, records.EXIT, report, durable=True)


def _own_scope(launch: Launch) -> str:
    """Enter the run's scope before it starts anything, and return its name; empty: it has none.

    A run is worth more than its scope: where systemd does not give one, it goes on without.
    """
    if not launch.runs_slice:
        return ""
    from runner.supervisor import scope  # noqa: PLC0415 - for runs in scopes alone

    unit = scope.unit_of(launch.run_id)
    try:
        scope.enter(unit, launch.runs_slice, launch.grace)
    except OSError as error:
        sys.stderr.write(f"the run has no scope of its own: {error}\n")
        return ""
    return unit


def _not_begun(doing: str, error: OSError) -> dict[str, records.Value]:
    text = f"{doing}: {error}"
    return {"reason": START_FAILED, "detail": text, "disk_full": is_disk_full(error)}


def _be_alone(directory: bytes) -> None:
    """Leave the daemon's session, directory and descriptors; become parent of all our orphans."""
    os.chdir(directory)
    os.umask(0o077)
    syscalls.leave_keyring()
    if os.getsid(0) != os.getpid():
        os.setsid()
    descriptors.close_all()
    syscalls.become_subreaper()


def _listen() -> int:
    """Have SIGTERM and SIGCHLD arrive as bytes of a pipe; until now the former was blocked."""
    wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(signum, lambda *_: None)
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return wake


class Watch:
    """The loop around one experiment. It ends when no process of the run is left."""

    def __init__(
        self, directory: bytes, launch: Launch, output: Output, wake: int, bounds: Bounds
    ) -> None:
        self._directory = directory
        self._launch = launch
        self._output = output
        self._wake = wake
        self._bounds = bounds
        self._detail = ""
        self._child = 0
        self._status: int | None = None
        self._pipe = -1
        self._poll = select.poll()
        self._stop_seen: bytes | None = None
        now = time.monotonic()
        self._countdown = Countdown(launch.limits, launch.grace, launch.orphan_timeout, now)
        self._probe = min(_PROBE, max(_KILL_ROUND, launch.orphan_timeout / 4))
        self._probe_at = now + self._probe

    def run(self) -> dict[str, records.Value]:
        """Start, watch and end; return what is to be recorded."""
        try:
            self._start()
        except StartFailed as failed:
            _, self._status = os.waitpid(self._child, 0)
            self._watch()  # what held its walls
            ending: dict[str, records.Value] = {"reason": failed.reason, "detail": failed.text}
        else:
            left = self._watch()
            who = " ".join(f"{process.pid}@{process.started}" for process in left)
            ending = {**self._ending(), "survivors": len(left), "left": who}
        self._read_rest()
        self._output.finish()
        return {
            **ending,
            "output_total": self._output.total,
            "output_cut": self._output.cut,
            "disk_full": self._output.disk_full,
        }

    def _start(self) -> None:
        self._pipe, write = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:
            pass  # above what this user may have; the usual 64 KiB do as well
        self._poll.register(self._pipe, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._child, told = start(self._launch, write, self._bounds.join)
        os.close(write)
        try:
            evidence.record_supervisor(self._directory, self._child, self._bounds.directories)
        except OSError as error:
            os.close(told)
            os.kill(self._child, signal.SIGKILL)
            text = f"the run's own record cannot be written: {error.strerror}"
            raise StartFailed(START_FAILED, text) from error
        check(self._launch, told)

    def _watch(self) -> list[processes.Process]:
        """Wait for the end of every process; return those that could not be ended."""
        while self._reap():
            now = time.monotonic()
            if self._status is not None:
                self._countdown.leftovers(now)
            elif now >= self._bounds.due:
                self._look_at_bounds(now)
            action = self._countdown.look(now)
            if action == KILL and self._kill(now):
                return processes.descendants(os.getpid())
            if action == TERM:
                self._terminate()
            self._wait(now, _KILL_ROUND if action == KILL else None)
        return []

    def _wait(self, now: float, seconds: float | None) -> None:
        """Sleep until something happens, and take it in."""
        if seconds is None:
            next_ = min(self._countdown.next(), self._probe_at, self._bounds.due)
            seconds = max(0.0, next_ - now)
        ready = {fd for fd, _ in self._poll.poll(seconds * 1000 + 1)}
        if self._pipe in ready and not self._read():
            self._poll.unregister(self._pipe)
        if self._wake in ready and signal.SIGTERM in os.read(self._wake, 512):
            self._asked(by_signal=True)
        if time.monotonic() >= self._probe_at:
            self._look_around()

    def _reap(self) -> bool:
        """Collect the dead; tell whether any process of the run is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._child:
                    self._status = status
        except ChildProcessError:
            return False  # every orphan becomes our child, so without children there is nobody

    def _read(self) -> bool:
        """Take what the pipe holds; ``False`` at its end."""
        try:
            data = os.read(self._pipe, _READ)
        except BlockingIOError:
            return True
        self._output.write(data)
        return bool(data)

    def _read_rest(self) -> None:
        # Not until the end of the pipe: a process that is not ours may hold its other side.
        os.set_blocking(self._pipe, False)
        before = -1
        while before != self._output.total:
            before = self._output.total
            self._read()
        os.close(self._pipe)

    def _terminate(self) -> None:
        found = processes.descendants(os.getpid())
        processes.tell(found, signal.SIGTERM)
        processes.tell(found, signal.SIGCONT)  # a stopped process could not hear it

    def _kill(self, now: float) -> bool:
        """Kill what is there; ``True`` when that has been hopeless for too long."""
        _hurry()
        self._bounds.strike()
        processes.kill(processes.Members(root=os.getpid()))
        return now > (self._countdown.kill_at or now) + _HOPELESS

    def _look_around(self) -> None:
        now = time.monotonic()
        self._probe_at = now + self._probe
        if leases.is_held(os.path.join(self._directory, records.ADOPTED)):
            self._countdown.adopted(now)
        elif _is_removed(self._directory):
            # Nobody will ever know of it, and its message is given to somebody else.
            self._countdown.stop(ORPHANED, now, None)
        self._asked(by_signal=False)

    def _asked(self, *, by_signal: bool) -> None:
        """Stop as ``stop.json`` says; a signal without news there stops too, the second kills."""
        now = time.monotonic()
        if wish := self._wish():
            self._countdown.stop(wish[0], now, wish[1])
        elif by_signal:
            again = self._countdown.kill_at is not None
            self._countdown.stop(TERMINATED, now, 0.0 if again else None)

    def _wish(self) -> tuple[str, float | None] | None:
        """Return cause and grace of a new wish in ``stop.json``."""
        try:
            wish = records.read(self._directory, records.STOP)
        except OSError:  # somebody put something else there
            return None
        if wish is None or wish == self._stop_seen:
            return None
        self._stop_seen = wish
        return wished(wish)

    def _look_at_bounds(self, now: float) -> None:
        """End the run where it is above what it may have: at once, it takes more by the moment."""
        cause, detail = self._bounds.look()
        if cause:
            self._detail = self._detail if self._countdown.reason else detail
            self._countdown.stop(cause, now, 0.0)

    def _hears_term(self) -> bool:
        """Who ends our scope tells all in it at once: the experiment may die of it before we hear.

        Then it did not end by itself.
        """
        try:
            return signal.SIGTERM in os.read(self._wake, 512)
        except BlockingIOError:
            return False

    def _ending(self) -> dict[str, records.Value]:
        # Minus the signal, or the exit code.
        code = None if self._status is None else os.waitstatus_to_exitcode(self._status)
        if code == -signal.SIGTERM and self._hears_term():
            self._asked(by_signal=True)
        reason, detail = self._countdown.reason, self._detail
        if not reason:
            # Also where it seems to have ended well: a part of it was killed, and with another
            # kernel all would have been.
            reason, detail = self._bounds.judge()
        return {
            "reason": reason or "exited",
            "detail": detail or (self._bounds.crowd() if code else ""),
            "code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
        }


def _is_removed(directory: bytes) -> bool:
    try:
        os.stat(directory)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def wished(wish: bytes) -> tuple[str, float | None] | None:
    """Read ``stop.json``: a cause, and a grace in seconds; ``None`` for what is no wish."""
    import json  # noqa: PLC0415 - see main.py

    try:
        asked = json.loads(wish)
        cause, grace = asked["cause"], asked["grace"]
        seconds = None if grace is None else max(0.0, float(grace))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return (cause, seconds) if isinstance(cause, str) and cause else None


def _hurry() -> None:
    """Go before all others: among a thousand processes that fork, our fair share is too little."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        pass  # it takes root
