"""Whom experiments run as: one user for all, or of a pool one for each that runs at a time.

A user of a pool is given out only when it has no process, and has nothing left where everybody may
write: then its next experiment finds nothing of the one before, and can do nothing to others. A
pool's users are for experiments alone, for whatever is theirs is ended and removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking, log
from runner.errors import Unavailable
from runner.lifecycle.runs import vacate
from runner.lifecycle.runs.processes import Left
from runner.model import Identity
from runner.supervisor import processes
from runner.supervisor.users import of_user

_log = log.get_logger(__name__)

#: Where every user may write, so that an experiment may have left something.
SHARED = tuple(
    Path(name)
    for name in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")  # noqa: S108 - swept
)
_LIMIT = blocking.Limit(2)
_PATIENCE = timedelta(seconds=15)
#: Seconds for one script: what a million files in ``/tmp`` take.
_LONGEST = 120.0
#: What an interpreter outside the usual places may need to start.
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")
#: Between two looks: a killed process needs a moment to go.
_ROUND = 0.02


class NoUser(Unavailable):
    """No user of --run-as is free."""


class Users:
    """Who can be had, and who is taken; belongs to one loop."""

    def __init__(
        self,
        shared: Identity | None = None,
        pool: Mapping[Identity, str] | None = None,
        *,
        swept: Sequence[Path] = SHARED,
    ) -> None:
        """``shared`` is the one user of all, ``None`` the daemon's own; a ``pool`` names its users.

        ``swept``: directories in which nothing of a user is left when its experiment has ended.
        """
        self.shared = shared
        self._names = dict(pool or {})
        self._swept = tuple(swept)
        self._taken: set[Identity] = set()
        #: Of whom nothing can be left.
        self._clean: set[Identity] = set()
        #: Who had processes of somebody else's when they were looked at last.
        self._strange: set[Identity] = set()
        #: Whose last clearing was not over, though nobody is in the way of it.
        self._unclear: set[Identity] = set()

    @property
    def at_most(self) -> int:
        """How many experiments there can be at a time; 0: as many as there is room for."""
        return len(self._names)

    @property
    def free(self) -> int:
        """How many users of the pool are not taken."""
        return len(self._names) - len(self._taken & self._names.keys())

    @property
    def is_pool(self) -> bool:
        """Every experiment is a user of its own."""
        return bool(self._names)

    def variables(self, identity: Identity | None) -> Mapping[str, str]:
        """Return what tells an experiment who it is; nothing where all are the same."""
        name = self._names.get(identity) if identity is not None else None
        return {} if name is None else {"USER": name, "LOGNAME": name}

    async def take(self) -> Identity | None:
        """Return a user that nobody else is until it is given back. Raises NoUser."""
        if not self._names:
            return self.shared
        for identity in list(self._names):
            if identity in self._taken:
                continue
            self._taken.add(identity)
            is_free = False
            try:
                is_free = await self._is_free(identity)
            finally:
                if not is_free:
                    self._taken.discard(identity)
            if is_free:
                return identity
        raise NoUser(
            f"none of the {len(self._names)} users of --run-as is free; with processes that are no "
            f"experiment's: {self._listed(self._strange)}; not cleared yet of what they left: "
            f"{self._listed(self._unclear)}"
        )

    def adopt(self, identity: Identity | None) -> None:
        """An adopted run is this user."""
        if identity is not None:
            self._taken.add(identity)

    async def end(self, identity: Identity | None) -> list[Left]:
        """Kill every process of a user that is one experiment's alone; return who could not be.

        Also who has left the run's session, tree and environment: nobody can leave its user.
        """
        if identity is None or identity not in self._names:
            return []
        return await blocking.call(lambda stop: _end(identity, stop), limit=_LIMIT)

    async def give_back(self, identity: Identity | None) -> None:
        """Leave nothing of an experiment's user, and let the next one have it."""
        if identity is None or identity not in self._names:
            return
        self._clean.discard(identity)
        try:
            with anyio.CancelScope(shield=True):
                await self._clear(identity)
        finally:
            self._taken.discard(identity)
            # Whom nobody has been for longest is the next.
            self._names[identity] = self._names.pop(identity)

    # ------------------------------------------------------------------ how

    def _listed(self, users: Collection[Identity]) -> str:
        return ", ".join(name for one, name in self._names.items() if one in users) or "none"

    async def _is_free(self, identity: Identity) -> bool:
        found = await blocking.call(lambda _: of_user(identity.uid), limit=_LIMIT)
        if not found:
            self._strange.discard(identity)
            if identity not in self._clean:
                await self._clear(identity)
            return identity in self._clean
        if identity not in self._strange:
            self._strange.add(identity)
            _log.warning(
                "a user of --run-as has processes, and is left alone until they have ended",
                user=self._names[identity],
                pids=[process.pid for process in found[:5]],
            )
        return False

    async def _clear(self, identity: Identity) -> None:
        words = [str(folder) for folder in self._swept]
        if await blocking.call(lambda stop: _run(identity, words, stop), limit=_LIMIT):
            self._clean.add(identity)
            self._unclear.discard(identity)
        else:
            self._unclear.add(identity)


def _end(identity: Identity, stop: blocking.Stop) -> list[Left]:
    give_up = time.monotonic() + _PATIENCE.total_seconds()
    while found := of_user(identity.uid):
        if time.monotonic() > give_up:
            return [Left(process.pid, process.started) for process in found]
        stop.check()
        # Stopped first, so that nobody ends who comes to end them.
        processes.tell(found, signal.SIGSTOP)
        _run(identity, [], stop)
        time.sleep(_ROUND)
    return []


def _run(identity: Identity, folders: Sequence[str], stop: blocking.Stop) -> bool:
    """Run the script; tell whether it came to its end. A stop ends it, too."""
    try:
        status, said = _ran(identity, folders, stop)
    except (OSError, subprocess.TimeoutExpired) as error:
        status, said = None, str(error)
    if status != 0:
        said = said.strip() or f"status {status}"
        _log.warning("what a user left could not all be removed", uid=identity.uid, trouble=said)
    return status == 0


def _ran(identity: Identity, folders: Sequence[str], stop: blocking.Stop) -> tuple[int, str]:
    script = [sys.executable, "-I", "-S", str(Path(vacate.__file__))]
    with subprocess.Popen(
        [*script, str(identity.uid), str(identity.gid), *folders],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={name: os.environ[name] for name in _KEPT if name in os.environ},
        start_new_session=True,
    ) as process:
        try:
            with stop.calling(process.kill):
                _, said = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, said.decode(errors="replace")
