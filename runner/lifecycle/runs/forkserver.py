"""The daemon's side of the fork server: asks it for supervisors, and does without it if it must."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from runner import log
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.supervisor import BLOCKED, SCRIPT, Supervisor, base_environment
from runner.supervisor import forkserver
from runner.supervisor.processes import MARK

_log = log.get_logger(__name__)

#: For an answer that takes a millisecond, and 30 when the server has just been started.
_PATIENCE = timedelta(seconds=5)
_LONGEST_ANSWER = 64


class ForkServer:
    """Starts supervisors by a fork of a process that is started when the first one is wanted."""

    def __init__(self, patience: timedelta = _PATIENCE) -> None:
        self._patience = patience
        self._turn = anyio.Lock()
        self._pid = 0
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server; the supervisors go on."""
        self._end()

    @property
    def pid(self) -> int:
        """The server's pid; 0 while there is none."""
        return self._pid

    async def spawn(self, directory: Path, run_id: str) -> Supervisor:
        """Start the supervisor of the run in ``directory``. Raises OSError.

        A server that does not answer is ended, and whatever it may have started for this run; then
        the supervisor is started without it.
        """
        with anyio.CancelScope(shield=True):  # a supervisor of which nobody knows would be lost
            async with self._turn:
                pid = await self._asked(directory, run_id)
        return Supervisor.spawn(directory, run_id) if pid is None else Supervisor.seen(pid)

    async def _asked(self, directory: Path, run_id: str) -> int | None:
        place, name = os.fsencode(directory), os.fsencode(run_id)
        if len(place) > len(forkserver.DIRECTORY) or len(name) > len(forkserver.RUN):
            return None
        try:
            with anyio.fail_after(self._patience.total_seconds()):
                answer = await self._answer(name + forkserver.SEPARATOR + place)
        except (OSError, TimeoutError) as error:
            self._end()
            left = await processes.end(run_id)
            _log.warning(
                "the fork server does not answer; the run starts without it",
                trouble=str(error) or "it took too long",
                left=processes.shown(left),
            )
            return None
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer), os.fspath(directory))
        return answer

    async def _answer(self, message: bytes) -> int:
        """Raises OSError where there is no server any more."""
        server = self._socket or self._begin()
        server.send(message)
        await anyio.wait_readable(server)
        answer = server.recv(_LONGEST_ANSWER)
        if not answer:
            raise ConnectionResetError("it has ended")
        return int(answer)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003 - its one and only argument
        with theirs:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(SCRIPT), os.fsdecode(forkserver.DIRECTORY)],
                {**base_environment(), os.fsdecode(MARK): os.fsdecode(forkserver.RUN)},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=BLOCKED,
            )
        self._socket = ours
        return ours

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._pid:
            with suppress(ProcessLookupError):  # our child: nobody else has its number
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self._socket, self._pid = None, 0
