"""The daemon's side of the process that asks the driver: one question at a time, never for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio

#: For a killed process to be gone; one that hangs in the kernel is left to it.
_REAPING = 1.0
#: So many are left hanging in the kernel; then no further one is sent after them.
_MOST_LEFT = 3
#: Far more than the cards of any machine have to say.
_LONGEST = 8 << 20

Json = dict[str, Any]


class NoAnswer(Exception):
    """Nothing is known; says in a sentence why."""


class _Ended(Exception):
    """The process is of no use any more; says what it did."""


class Interview:
    """Starts the process at the first question and after each one that went wrong.

    Its questions are asked one after the other: the caller sees to that.
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], *, timeout: float
    ) -> None:
        """``timeout``: seconds for an answer, the start of the process included."""
        self._command = command
        self._variables = dict(variables)
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._number = self._received = 0
        self._left: list[subprocess.Popen[bytes]] = []
        self._is_closed = False

    async def ask(self) -> Json:
        """Return the answer. Raises NoAnswer."""
        with anyio.move_on_after(self._timeout):
            had_answered = self._received > 0
            try:
                return await self._ask()
            except _Ended as error:
                await self.end()
                # It may have been killed long ago, for want of memory, say.
                if not had_answered or self._is_closed:
                    raise NoAnswer(f"the process that asks the NVIDIA driver {error}") from error
            try:
                return await self._ask()
            except _Ended as error:
                await self.end()
                raise NoAnswer(f"the process that asks the NVIDIA driver {error}") from error
        await self.end()
        raise NoAnswer(f"the NVIDIA driver gave no answer in {self._timeout:g} s")

    async def aclose(self) -> None:
        """End the process; whoever waits for its answer gets none."""
        self._is_closed = True
        await self.end()

    # ------------------------------------------------------------------ question and answer

    async def _ask(self) -> Json:
        """Ask once, and pass over answers to questions whose asker was cancelled. Raises _Ended."""
        process = self._process or self._start()
        assert process.stdin is not None  # noqa: S101 - they are pipes
        assert process.stdout is not None  # noqa: S101 - likewise
        self._number += 1
        try:
            os.write(process.stdin.fileno(), b"%d %d\n" % (self._number, self._received))
            while True:
                answer = _decoded(await self._line(process.stdout.fileno()))
                if answer["number"] == self._number:
                    self._received = self._number
                    return answer
        except (OSError, anyio.ClosedResourceError) as error:
            raise _Ended(await self._fate(process)) from error

    async def _line(self, descriptor: int) -> bytes:
        while b"\n" not in self._said:
            await anyio.wait_readable(descriptor)
            with suppress(BlockingIOError):
                piece = os.read(descriptor, 1 << 16)
                if not piece:
                    raise BrokenPipeError
                self._said += piece
            if len(self._said) > _LONGEST:
                raise _Ended("said far too much")
        line, _, self._said = self._said.partition(b"\n")
        return line

    # ------------------------------------------------------------------ the process

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it; it keeps nothing of ours, and no signal of our terminal is for it."""
        self._left = [process for process in self._left if process.poll() is None]
        if len(self._left) >= _MOST_LEFT:
            pids = ", ".join(str(process.pid) for process in self._left)
            raise NoAnswer(f"the NVIDIA driver hangs, and the processes {pids} in it: restart it")
        if self._is_closed:
            raise _Ended("was ended")
        try:
            process = subprocess.Popen(
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self._variables,
                start_new_session=True,
            )
        except OSError as error:
            raise _Ended(f"cannot be started: {error}") from error
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # noqa: S101 - it was asked for
            os.set_blocking(pipe.fileno(), False)
        self._process, self._said = process, b""
        self._number = self._received = 0
        return process

    async def end(self) -> None:
        """Kill it, and wait a moment for its end; the next question goes to another one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                anyio.notify_closing(pipe.fileno())
                pipe.close()
        # Before the first pause: a cancelled caller leaves it to the next start to look.
        self._left.append(process)
        if await _gone(process):
            self._left.remove(process)

    async def _fate(self, process: subprocess.Popen[bytes]) -> str:
        """Say how it ended by itself; it has closed its pipe and may be about to."""
        if self._process is not process:
            return "was ended"
        if not await _gone(process):
            return "closed its pipe"
        if process.returncode >= 0:
            return f"ended with exit status {process.returncode}"
        return f"ended with {signal.Signals(-process.returncode).name}"


def _decoded(line: bytes) -> Json:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise _Ended(f"said {line[:80]!r}") from error
    if not isinstance(found, dict) or not isinstance(found.get("number"), int):
        raise _Ended(f"said {line[:80]!r}")
    return found


async def _gone(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for the end of a process, of which older kernels tell nobody else."""
    with anyio.move_on_after(_REAPING, shield=True):
        pause = 0.001
        while process.poll() is None:
            await anyio.sleep(pause)
            pause *= 2
    return process.returncode is not None
