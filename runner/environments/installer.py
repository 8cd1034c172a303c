"""Runs uv: bounded in time, with an environment of its own, its output kept to the last lines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

import anyio
from anyio.abc import Process

import runner.supervisor
from runner.environments import leftovers
from runner.environments.sources import Sources
from runner.model import Identity

#: Bytes of output that are looked at; an installer's reasons come last.
TAIL = 65536
#: Where builds look for compilers and git, whatever the daemon's own PATH says.
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Finished:
    """How an installer's run ended."""

    code: int
    #: The end of what it printed.
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installer works, as whom, and which cache it may trust."""

    #: Its current directory, home and temporary directory lie below.
    scratch: Path
    cache: Path
    #: ``None``: the daemon's own user.
    identity: Identity | None = None
    #: Packages may run code of their own: other people's.
    runs_code: bool = False


@dataclass(frozen=True, slots=True)
class Installer:
    """The uv program and the operator's settings for it."""

    uv: Path
    sources: Sources
    link_mode: str
    #: Where downloaded interpreters lie.
    pythons: Path
    allow_downloads: bool = False
    #: What code of packages must not see; empty where nothing can be hidden.
    hidden: tuple[Path, ...] = ()
    #: What of that it needs.
    visible: tuple[Path, ...] = ()
    #: What puts walls around code of packages that may write to these directories alone, as words
    #: of a command; none: there are no walls.
    walls: Callable[[Sequence[Path]], Sequence[str]] = lambda _: ()
    #: A build that takes longer is ended.
    patience: timedelta = field(default=timedelta(hours=2))

    async def run(self, arguments: Sequence[str], place: Place) -> Finished:
        """Run ``uv`` and wait; all its processes are gone when this returns or is cancelled."""
        argv = [str(self.uv), *arguments, "--no-config"]
        with tempfile.TemporaryFile(dir=place.scratch.parent) as output:
            code = await self._wait(argv, place, output)
            return Finished(code, _tail(output))

    async def _wait(self, argv: Sequence[str], place: Place, output: IO[bytes]) -> int:
        mark, user = place.scratch.name, place.identity
        walls = self.walls((place.scratch.parent, place.cache)) if place.runs_code else ()
        if walls or (place.runs_code and self.hidden):
            argv, user = self._veiled(argv, place, walls), None
        process = await anyio.open_process(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output.fileno(),
            stderr=output.fileno(),
            cwd=place.scratch,
            env=self._environment(place, mark),
            start_new_session=True,
            umask=0o022,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=() if user else None,
        )
        try:
            with anyio.move_on_after(self.patience.total_seconds()):
                return await process.wait()
            output.write(f"the installer was ended after {self.patience}\n".encode())
            return -signal.SIGKILL
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, mark)

    def _veiled(self, argv: Sequence[str], place: Place, walls: Sequence[str]) -> Sequence[str]:
        """Return the command that hides first, changes its user then, and becomes ``argv``."""
        script = Path(runner.supervisor.__file__).with_name("veil.py")
        identity = f"{place.identity.uid}:{place.identity.gid}" if place.identity else "-"
        words = [sys.executable, "-I", "-S", str(script), identity]
        for listed in (self.hidden, self.visible, walls):
            words += [str(len(listed)), *map(str, listed)]
        return [*words, *argv]

    def _environment(self, place: Place, mark: str) -> Mapping[str, str]:
        scratch = str(place.scratch)
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            **self.sources.variables,
            "HOME": scratch,
            "TMPDIR": scratch,
            "UV_CACHE_DIR": str(place.cache),
            "UV_LINK_MODE": self.link_mode,
            "UV_PYTHON_DOWNLOADS": "automatic" if self.allow_downloads else "never",
            "UV_PYTHON_INSTALL_DIR": str(self.pythons),
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            leftovers.MARK: mark,
        }


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - TAIL))
    return output.read().decode(errors="replace")


async def _end(process: Process, mark: str) -> None:
    """Kill the installer's process group and whatever escaped from it, then wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    leftovers.end(mark)
    await process.aclose()
