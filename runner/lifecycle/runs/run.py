"""The supervised process of one attempt, seen from the daemon: start, adopt, wait, stop, forget."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from runner import own_files
from runner.errors import HostFault, OutOfDisk
from runner.lifecycle.runs import exits, processes
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.forkserver import ForkServer
from runner.lifecycle.runs.processes import Left
from runner.lifecycle.runs.spec import FACTS, Facts, RunSpec, prepare
from runner.lifecycle.runs.supervisor import Supervisor
from runner.model import Cause
from runner.supervisor import groups, output, records

__all__ = ["Exit", "Run", "RunGone", "RunSpec", "RunTaken"]

_OWN_FILES = (
    FACTS,
    records.LAUNCH,
    records.SUPERVISOR,
    records.STOP,
    records.EXIT,
    records.ADOPTED,
    records.EXCESS,
    records.LOG,
)
#: A supervisor that looks whether we hold the lock holds it for a blink itself.
_LOCK_TRIES = 20
_LOCK_PAUSE = timedelta(milliseconds=10)


class RunGone(HostFault):
    """Nothing is left of the run: no supervisor, and no record of its end."""


class RunTaken(HostFault):
    """Another daemon looks after this run."""


class Run:
    """A run that this daemon looks after; until ``leave`` or ``forget`` no other one can."""

    def __init__(
        self, run_id: str, directory: Path, output: tuple[Path, int], supervisor: Supervisor | None
    ) -> None:
        """Use ``start`` or ``adopt``; ``output`` is the file and its limit."""
        self.run_id = run_id
        self.directory = directory
        self._output = output
        self._supervisor = supervisor
        self._lock = -1
        self._exit: Exit | None = None

    @classmethod
    async def start(cls, spec: RunSpec, server: ForkServer | None = None) -> Run:
        """Start a supervisor and return at once. Raises HostFault, OutOfDisk.

        What keeps the experiment itself from starting is told by ``wait``. A ``server`` is faster.
        """
        run = cls(spec.run_id, spec.directory, (spec.output, spec.output_limit), None)
        with _as_host_fault(f"the run in {spec.directory} cannot be started"):
            spec.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            await run._take_lock()
            try:
                prepare(spec)
                spawn = server.spawn if server else _spawn
                run._supervisor = await spawn(spec.directory, spec.run_id)
            except BaseException:
                await run.forget()
                raise
        return run

    @classmethod
    async def adopt(cls, directory: Path) -> Run:
        """Look after a run that another daemon started. Raises RunGone, RunTaken.

        A run whose supervisor was killed is adopted too: its ``wait`` cleans up and says so.
        """
        try:
            facts = own_files.read_as(directory / os.fsdecode(FACTS), Facts)
        except (OSError, ValueError) as error:
            raise RunGone(f"{directory} holds no run ({error})") from error
        where = (Path(facts.output), facts.output_limit)
        run = cls(facts.run_id, directory, where, Supervisor.recorded(directory))
        with _as_host_fault(f"the run in {directory} cannot be adopted"):
            await run._take_lock()
        if run._supervisor is None and run._recorded() is None:
            try:
                await processes.end(run.run_id)  # it may have been about to begin
            finally:
                run.leave()
            raise RunGone(f"the run in {directory} never began")
        return run

    @property
    def supervisor(self) -> int:
        """The pid of its supervisor; 0 where it has none."""
        return self._supervisor.pid if self._supervisor else 0

    async def wait(self) -> Exit:
        """Wait for the end of the run and of all its processes. Cancelling it touches nothing."""
        if self._exit is None:
            if self._supervisor is not None:
                await self._supervisor.gone()
            self._exit = self._recorded() or await self._clean_up()
        return self._exit

    async def stop(self, cause: Cause, grace: timedelta | None = None) -> None:
        """Have the run ended: TERM, ``grace`` (default: the run's own), KILL. Returns at once.

        The first cause is the cause; a further call can only shorten the grace. No error when the
        run has ended. Raises HostFault, OutOfDisk.
        """
        wish = {"cause": cause, "grace": None if grace is None else grace.total_seconds()}
        if self._supervisor is None or _json(self.directory, records.STOP) == wish:
            return  # a second signal without news would be an impatient man's
        with _as_host_fault(f"the run in {self.directory} cannot be stopped"):
            records.write(os.fsencode(self.directory), records.STOP, json.dumps(wish).encode())
        self._supervisor.tell(signal.SIGTERM)

    async def end(self) -> list[Left]:
        """Kill all that belongs to the run, now and without a word; ``wait`` tells nothing then.

        Returns who could not be ended.
        """
        supervisor = self._supervisor
        left = await processes.end(self.run_id, supervisor.session() if supervisor else 0)
        if supervisor is not None:
            await supervisor.gone()
            _remove_groups(Supervisor.recorded(self.directory))
        return left

    def leave(self) -> None:
        """Let go of the run without ending it: another daemon may adopt it."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    async def forget(self) -> None:
        """Remove the run's own files. Only for a run that has ended and is settled."""
        try:
            _remove_own_files(self.directory)
        finally:
            self.leave()

    def _recorded(self) -> Exit | None:
        with suppress(OSError):  # there is none, or what lies there is none
            return exits.parse(own_files.read(self.directory / os.fsdecode(records.EXIT)))
        return None

    async def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(self.directory / os.fsdecode(records.ADOPTED), flags, 0o600)
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await anyio.sleep(_LOCK_PAUSE.total_seconds())
            else:
                return
        self.leave()
        raise RunTaken(f"another daemon looks after the run in {self.directory}")

    async def _clean_up(self) -> Exit:
        """The supervisor left no record: end what it left, and save the last part of the output."""
        supervisor = Supervisor.recorded(self.directory) or self._supervisor
        left: list[Left] = []
        why = "the machine or its container was restarted"
        is_here = supervisor is not None and supervisor.is_of_this_boot()
        if supervisor is not None and is_here:
            left = await processes.end(self.run_id, supervisor.session())
            why = "its supervisor was killed"
            _remove_groups(supervisor)
        if (self.directory / os.fsdecode(records.EXIT)).exists():
            why = "what its supervisor wrote of its end cannot be read"
        try:
            path, limit = self._output
            output.recover(os.fsencode(path), os.fsencode(self.directory), limit)
        except OSError as error:
            why += f", and the end of its output could not be saved ({error})"
        text = f"the run ended without a record of it: {why}{_last_words(self.directory)}"
        return Exit(
            exits.VANISHED,
            detail=text,
            ended_at=time.time(),
            survivors=len(left),
            left=tuple(left),
            is_restarted=supervisor is not None and not is_here,
        )


async def _spawn(directory: Path, run_id: str) -> Supervisor:
    return Supervisor.spawn(directory, run_id)


def _remove_own_files(directory: Path) -> None:
    pieces = directory.glob(os.fsdecode(records.TAIL) + "*")
    own = (
        directory / os.fsdecode(name + end) for name in _OWN_FILES for end in (b"", records.PART)
    )
    for path in (*pieces, *own):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # somebody else keeps a file there
        directory.rmdir()


def _remove_groups(supervisor: Supervisor | None) -> None:
    """Remove the control groups that a supervisor could not remove any more."""
    if supervisor is not None:
        groups.remove([path for path in supervisor.groups.split(os.pathsep) if path])


def _last_words(directory: Path) -> str:
    """Return what the supervisor said last, if it ever said anything."""
    log = b""
    with suppress(OSError):
        log = own_files.read(directory / os.fsdecode(records.LOG))
    lines = log.decode(errors="replace").split("\n")
    return next((f": {line}" for line in reversed(lines) if line), "")


def _json(directory: Path, name: bytes) -> dict[str, Any] | None:
    """Return what a file holds; ``None`` where there is none, or what a power cut left."""
    with suppress(OSError, ValueError):
        return own_files.read_as(directory / os.fsdecode(name), dict[str, Any])
    return None


@contextmanager
def _as_host_fault(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = OutOfDisk if output.is_disk_full(error) else HostFault
        raise kind(f"{what}: {error}") from error
