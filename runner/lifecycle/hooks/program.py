"""Runs one of the operator's programs to its end, or ends it: for a limited time, and wholly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import anyio
from anyio.abc import Process

from runner.alongside import alongside
from runner.request.units import format_duration

#: What a shell, or ``env``, says of a program that it cannot run, or does not find.
_NOT_RUN = frozenset({126, 127})
#: Between TERM and KILL, in seconds: a daemon that detaches has less than two.
_GRACE = 1.0
#: What is said at the very end may take a moment to come through.
_REST = 0.2
_MOST_LINES, _LONGEST_LINE = 200, 500
_CHUNK = 1 << 16


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

    ``tell`` is given each line that it prints, redacted. Whatever it started in its process group
    ends with it, also when we are cancelled.
    """
    seconds = min(program.limit.total_seconds(), at_most)
    name = f"{program.option} {program.argv[0]}"
    lines = _Lines(redact, tell)
    status: int | None = None
    with _output() as (reading, writing):
        try:
            with anyio.CancelScope(shield=True):  # or nobody would know whom to end
                process = await _started(program, document, env, writing)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Said(None, trouble=f"{name} cannot be run: {why}")
        try:
            with anyio.move_on_after(seconds):
                status = await _to_its_end(process, lines, reading)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
    if status is None:
        long = format_duration(timedelta(seconds=seconds))
        return Said(None, lines.last, f"{name} did not end within {long}, so it was ended")
    return _judged(name, status, lines.last)


@contextmanager
def _output() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe: who inherits it and outlives the hook keeps nothing of ours open.

    Whoever gives the second end away closes it.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)


async def _started(
    program: Program, document: bytes, env: Mapping[str, str], output: int
) -> Process:
    """Start it, with the document in a file that has no name. Raises OSError, ValueError."""
    try:
        with open(os.memfd_create("attempt"), "w+b") as told:  # noqa: PTH123, ASYNC230 - memory
            told.write(document)
            told.seek(0)
            return await anyio.open_process(
                program.argv,
                stdin=told,
                stdout=output,
                stderr=output,
                env=dict(env),
                cwd="/",
                start_new_session=True,
            )
    finally:
        os.close(output)


def _judged(name: str, status: int, last: str) -> Said:
    if status < 0:
        return Said(None, last, f"{name} died of {signal.Signals(-status).name}")
    if status in _NOT_RUN:
        said = f": {last}" if last else ""
        return Said(status, last, f"{name} cannot be run, it ended with status {status}{said}")
    return Said(status, last)


async def _to_its_end(process: Process, lines: _Lines, output: int) -> int:
    """Return its status; who inherited its output and lives on is not waited for."""
    async with alongside(lambda _: lines.read(output)):
        status = await process.wait()
        with anyio.move_on_after(_REST):
            await lines.over.wait()
    lines.close()
    return status


async def _end(process: Process) -> None:
    """End its process group: gently where it still lives itself, what it left behind at once."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with anyio.move_on_after(_GRACE):
            await process.wait()
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left, or only zombies are
        os.killpg(process.pid, number)


class _Lines:
    """What it prints, line by line; of a flood only the beginning, and always the last one."""

    def __init__(self, redact: Callable[[str], str], tell: Callable[[str], None]) -> None:
        self.over = anyio.Event()
        self._redact, self._tell = redact, tell
        self._told = 0
        self._last = ""
        self._rest = b""

    @property
    def last(self) -> str:
        """The last line that is not empty."""
        return self._redact(self._last)

    async def read(self, output: int) -> None:
        """Read to the end."""
        while True:
            await anyio.wait_readable(output)
            chunk = os.read(output, _CHUNK)
            *whole, rest = (self._rest + chunk).split(b"\n")
            # Of a line without an end the beginning is enough.
            self._rest = rest[: 4 * _LONGEST_LINE]
            for line in whole:
                self._note(line)
            if not chunk:
                break
        self.over.set()

    def close(self) -> None:
        """Take what was printed last without an end of the line."""
        self._note(self._rest)
        self._rest = b""

    def _note(self, line: bytes) -> None:
        text = line[: 4 * _LONGEST_LINE].decode(errors="replace").strip()[:_LONGEST_LINE]
        if not text:
            return
        self._told, self._last = self._told + 1, text
        if self._told <= _MOST_LINES:
            self._tell(self._redact(text))
