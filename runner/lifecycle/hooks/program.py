"""Runs one of the operator's programs to its end, or ends it: for a limited time, and wholly."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import FileIO

import anyio
import anyio.lowlevel
from anyio.abc import Process

from runner.alongside import alongside
from runner.lifecycle.hooks import minder
from runner.lifecycle.hooks.minder import GRACE
from runner.request.units import format_duration

#: What a shell, or ``env``, says of a program that it cannot run, or does not find.
_NOT_RUN = frozenset({126, 127})
#: Seconds that its minder has for ending it, and all that it started.
_ENDING = GRACE + 0.5
#: What is said at the very end may take a moment to come through.
_REST = 0.2
_MOST_LINES, _LONGEST_LINE = 200, 500
#: Bytes of a line that are looked at for secrets before it is cut: the longest that there are.
_SEARCHED = 1 << 15
_CHUNK, _PIPE = 1 << 16, 1 << 20
#: What the interpreter needs, where it lies outside the usual places; the hook does not get it.
_KEPT = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True)
class Program:
    """A command line of the operator, without a shell."""

    #: The option that names it: ``--hook-before``.
    option: str
    argv: tuple[str, ...]
    #: What it may take.
    limit: timedelta


@dataclass(frozen=True, slots=True)
class Said:
    """How it ended."""

    #: ``None``: it came to no end of its own.
    status: int | None
    #: The last line that it printed; may be empty.
    last_line: str = ""
    #: Why its status counts nothing, in a sentence; empty: it counts.
    trouble: str = ""


async def run(
    program: Program,
    document: bytes,
    env: Mapping[str, str],
    *,
    redact: Callable[[str], str],
    tell: Callable[[str], None],
    at_most: float = float("inf"),
) -> Said:
    """Run it with ``document`` on its standard input; never raises for what it does.

    ``tell`` is given each line that it prints, redacted. Whatever it started ends with it, also
    when we are cancelled, and when the daemon is killed.
    """
    seconds = min(program.limit.total_seconds(), at_most)
    name = f"{program.option} {program.argv[0]}"
    lines = _Lines(redact, tell)
    try:
        status, refusal = await _ran(program, document, env, lines, seconds)
    except (OSError, ValueError) as error:
        status, refusal = None, getattr(error, "strerror", None) or str(error)
    if refusal:
        return Said(None, trouble=f"{name} cannot be run: {refusal}")
    if status is None:
        long = format_duration(timedelta(seconds=seconds))
        return Said(None, lines.last, f"{name} did not end within {long}, so it was ended")
    return _judged(name, status, lines.last)


async def _ran(
    program: Program, document: bytes, env: Mapping[str, str], lines: _Lines, seconds: float
) -> tuple[int | None, str]:
    """Return its status, and why it could not be executed. Raises OSError, ValueError."""
    status: int | None = None
    with _pipe() as (reading, writing), _pipe() as (refusal, refusing):
        with anyio.CancelScope(shield=True):  # or nobody would know whom to end
            process = await _started(program, document, env, writing, refusing)
        try:
            with anyio.move_on_after(seconds):
                status = await _to_its_end(process, lines, reading)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
        return status, _read(refusal)


@contextmanager
def _pipe() -> Iterator[tuple[int, FileIO]]:
    """Give both ends of a pipe: who inherits it and outlives the hook keeps nothing of ours open.

    Whoever gives the second end away closes it.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with suppress(OSError):  # above what this user may have: the usual size does as well
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        with FileIO(writing, "wb") as end:
            yield reading, end
    finally:
        os.close(reading)


async def _started(
    program: Program, document: bytes, env: Mapping[str, str], output: FileIO, refusing: FileIO
) -> Process:
    """Start it, with the document in a file that has no name. Raises OSError, ValueError.

    Its minder executes it, not we: whoever waits for a program on a dead file system to be executed
    waits for ever.
    """
    ours = {_KEPT: os.environ[_KEPT]} if _KEPT in os.environ else {}
    script = (sys.executable, "-I", "-S", minder.__file__, str(os.getpid()))
    try:
        with open(os.memfd_create("attempt"), "w+b") as told:  # noqa: PTH123, ASYNC230 - memory
            told.write(document)
            told.seek(0)
            return await anyio.open_process(
                (*script, str(refusing.fileno()), *program.argv),
                stdin=told,
                stdout=output,
                stderr=output,
                env={**env, **ours},
                cwd="/",
                start_new_session=True,
                pass_fds=(refusing.fileno(),),
            )
    finally:
        output.close()
        refusing.close()


def _read(descriptor: int) -> str:
    """Return what is there; nothing where somebody else still could write it."""
    with suppress(BlockingIOError):
        return os.read(descriptor, _CHUNK).decode(errors="replace")
    return ""


def _judged(name: str, status: int, last: str) -> Said:
    if status < 0:
        return Said(None, last, f"{name} died of {_signal(-status)}")
    if status in _NOT_RUN:
        said = f": {last}" if last else ""
        return Said(status, last, f"{name} cannot be run, it ended with status {status}{said}")
    return Said(status, last)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time ones have no name
        return f"signal {number}"


async def _to_its_end(process: Process, lines: _Lines, output: int) -> int:
    """Return its status; who inherited its output and lives on is not waited for."""
    async with alongside(lambda _: lines.read(output)):
        status = await process.wait()
        with anyio.move_on_after(_REST):
            await lines.over.wait()
    lines.close()
    return status


async def _end(process: Process) -> None:
    """Have it ended with all that it started. Nobody is signalled who was waited for already."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_ENDING):
            await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class _Lines:
    """What it prints, line by line; of a flood only the beginning, and always the last one."""

    def __init__(self, redact: Callable[[str], str], tell: Callable[[str], None]) -> None:
        self.over = anyio.Event()
        self._redact, self._tell = redact, tell
        self._told = 0
        self._last = b""
        self._rest = b""

    @property
    def last(self) -> str:
        """The last line that is not empty, redacted."""
        return self._shown(self._last)

    async def read(self, output: int) -> None:
        """Read to the end."""
        while True:
            await anyio.wait_readable(output)
            chunk = os.read(output, _CHUNK)
            *whole, rest = (self._rest + chunk).split(b"\n")
            # Of a line without an end the beginning is enough.
            self._rest = rest[:_SEARCHED]
            self._take(whole)
            if not chunk:
                break
            await anyio.lowlevel.checkpoint()
        self.over.set()

    def close(self) -> None:
        """Take what was printed last without an end of the line."""
        self._note(self._rest)
        self._rest = b""

    def _take(self, lines: list[bytes]) -> None:
        for number, line in enumerate(lines):
            if self._told >= _MOST_LINES:
                # Of a flood the last line alone counts: the daemon has better things to do.
                self._last = next(filter(bytes.strip, reversed(lines[number:])), self._last)
                return
            self._note(line)

    def _note(self, line: bytes) -> None:
        if not line.strip():
            return
        self._told, self._last = self._told + 1, line
        if self._told <= _MOST_LINES:
            self._tell(self._shown(line))

    def _shown(self, text: bytes) -> str:
        # Cut after it was redacted: half a secret would not be known for one.
        searched = text.strip()[:_SEARCHED].decode(errors="replace")
        return self._redact(searched)[:_LONGEST_LINE]
