"""Runs uv: bounded in time, with an environment of its own, its output kept to the last lines."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import Process

import runner.supervisor
from runner.environments import leftovers
from runner.environments.bounded import Excess, Held, Watched, unheld, unwatched
from runner.environments.copying import copied
from runner.environments.failures import last_lines
from runner.environments.sources import AUTHORITIES, Sources
from runner.errors import RequirementsFailed
from runner.model import Identity

if TYPE_CHECKING:
    from runner.environments.within import Within

#: Bytes of output that are looked at; an installer's reasons come last.
TAIL = 65536
#: What is said where a program cannot be started, though it is there.
_NO_PROGRAM = ("error while loading shared libraries", "cannot be executed", "Exec format error")
#: Where builds look for compilers and git, whatever the daemon's own PATH says.
PATH = "/usr/local/bin:/usr/bin:/bin"

#: Looks for what a build left, and seconds between two: the killed need a moment to go.
_ROUNDS, _ROUND = 500, 0.02


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
    #: What watches what a build writes, and what holds it to its share of the machine.
    watched: Watched = unwatched
    held: Held = unheld
    #: A build that takes longer is ended.
    patience: timedelta = field(default=timedelta(hours=2))

    async def run(
        self, arguments: Sequence[str], place: Place, within: Within | None = None
    ) -> Finished:
        """Run ``uv`` and wait; all its processes are gone when this returns or is cancelled.

        In a container image where it is ``within`` one.

        Raises RequirementsFailed where it uses more than a build may.
        """
        excess = Excess()
        if within is not None:
            with excess.scope, self._watching(place, excess):
                return await self._inside(within, arguments, place)
            raise RequirementsFailed(excess.said)
        argv = [str(self.uv), *arguments, "--no-config"]
        with tempfile.TemporaryFile(dir=place.scratch.parent) as output:
            code = await self._wait(argv, place, output, excess)
            text = _tail(output)
        if excess.said and code != 0:
            raise RequirementsFailed(f"{excess.said}\n{last_lines(text)}".rstrip())
        return Finished(code, text)

    def _watching(self, place: Place, excess: Excess) -> AbstractContextManager[None]:
        roots = (place.scratch.parent, place.cache)
        return self.watched(roots, place.scratch.name, excess.tell)

    async def _inside(self, within: Within, arguments: Sequence[str], place: Place) -> Finished:
        """Run it where the image's Python is; its programs are found there, too."""
        # In a directory that has nothing else: it is seen in there at the same name.
        program = self.pythons.with_name("inside") / self.uv.name
        await anyio.to_thread.run_sync(copied, self.uv, program)
        env = dict(self._environment(place, place.scratch.name))
        del env["PATH"]
        env |= await anyio.to_thread.run_sync(_authorities, env, place.scratch)
        local = (Path(link) for link in self.sources.find_links if link.startswith("/"))
        readonly = (program.parent, *(path for path in local if path.is_dir()))
        words = [str(program), *arguments, "--no-config"]
        finished = await within.enter(words, place, env, readonly)
        if finished.code != 0 and any(sign in finished.text for sign in _NO_PROGRAM):
            raise RequirementsFailed(
                "the installer of requirements does not run in the container image, for it takes "
                "glibc and libgcc_s (no Alpine): choose an image that has them, or one that "
                f"brings all that is needed, without pythonenv\n{last_lines(finished.text)}"
            )
        return finished

    async def _wait(
        self, argv: Sequence[str], place: Place, output: IO[bytes], excess: Excess
    ) -> int:
        if not place.runs_code:
            return await self._ended(argv, place, output, excess)
        walls = self.walls((place.scratch.parent, place.cache))
        async with self.held(place.scratch.name, excess.tell) as groups:
            if walls or self.hidden:
                argv = self._veiled(argv, place, groups, walls)
            return await self._ended(argv, place, output, excess)

    async def _ended(
        self, argv: Sequence[str], place: Place, output: IO[bytes], excess: Excess
    ) -> int:
        mark, user = place.scratch.name, place.identity
        if argv[0] == sys.executable:
            user = None  # the veil's to change
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
            excess.scope.deadline = anyio.current_time() + self.patience.total_seconds()
            with excess.scope, self._watching(place, excess):
                return await process.wait()
            if not excess.said:
                output.write(f"the installer was ended after {self.patience}\n".encode())
            return -signal.SIGKILL
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process, mark)

    def _veiled(
        self, argv: Sequence[str], place: Place, groups: Sequence[str], walls: Sequence[str]
    ) -> Sequence[str]:
        """Return the command that hides first, changes its user then, and becomes ``argv``."""
        script = Path(runner.supervisor.__file__).with_name("veil.py")
        identity = f"{place.identity.uid}:{place.identity.gid}" if place.identity else "-"
        words = [sys.executable, "-I", "-S", str(script), identity]
        for listed in (groups, self.hidden, self.visible, walls):
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


def _authorities(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Take the operator's authorities along, as files of the place; return the variables."""
    taken = {}
    for name in AUTHORITIES:
        if name in env and Path(env[name]).is_file():
            copy = scratch / f"{name.lower()}.pem"
            shutil.copyfile(env[name], copy)
            copy.chmod(0o644)
            taken[name] = str(copy)
    return taken


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - TAIL))
    return output.read().decode(errors="replace")


async def _end(process: Process, mark: str) -> None:
    """Kill the installer's process group and whatever escaped from it, until none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for _ in range(_ROUNDS):
        if not leftovers.end(mark):
            break
        await anyio.sleep(_ROUND)
    await process.aclose()
