"""Turns what is wanted into an exact list, and remembers it: the list, not the wish, is the key."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio

from runner import log, own_files
from runner.environments import layering
from runner.environments.failures import explain, no_answer
from runner.environments.installer import Finished, Installer, Place
from runner.environments.interpreters import Interpreter
from runner.environments.layering import Base
from runner.environments.places import Places
from runner.environments.plan import Resolution, contents, digest
from runner.environments.requirements import Requirements, parse
from runner.environments.within import Within
from runner.errors import Unavailable

_log = log.get_logger(__name__)

#: Remembered resolutions at most; the oldest are forgotten at the next start.
KEPT = 2000
_HOPELESS = re.compile(r"was not found in the (package registry|provided package locations)")
_CONFLICT = re.compile(r"unsatisfiable|conflict", re.IGNORECASE)
_NO_WHEEL = re.compile(r"no usable wheels|building from source is disabled|`--no-build`")
_LONGEST_LIST = 1 << 20
_TORCH_INDEX = "download.pytorch.org"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to ask for the list; the next one follows from how it failed. Pure."""

    wanted: Requirements
    #: Packages that every environment should have, if they can be had.
    companions: tuple[str, ...] = ()
    torch: str = ""
    #: Packages may be built from source, which runs their code.
    builds: bool = False
    #: The sender's pins hold against what packages say of each other, as they did for the original
    #: runner's installer: a frozen list of a working environment installs.
    overrides: bool = False

    def after(self, text: str) -> Attempt | None:
        """Return what to try when the installer failed with ``text``; None when nothing is left."""
        if self.companions and self._concerns_companions(text):
            return dataclasses.replace(self, companions=())
        if self.torch == "auto" and _TORCH_INDEX in text:
            return dataclasses.replace(self, torch="")
        if no_answer(text) or _HOPELESS.search(text):
            return None
        needs_build = bool(_NO_WHEEL.search(text))
        if not self.overrides and not needs_build and self._may_override(text):
            return dataclasses.replace(self, overrides=True)
        if not self.builds:
            return dataclasses.replace(self, builds=True, overrides=False)
        return None

    def _may_override(self, text: str) -> bool:
        return self.wanted.pinned and bool(_CONFLICT.search(text))

    def _concerns_companions(self, text: str) -> bool:
        names = "|".join(self.companions)
        return bool(re.search(rf"(Because |/)({names})\b", text))


class Resolver:
    """Asks the installer, once for each question in ``ttl``."""

    def __init__(
        self,
        memory: Path,
        ttl: timedelta,
        places: Places,
        installer: Installer,
        report: Callable[[str], None],
    ) -> None:
        self._memory = memory
        self._ttl = ttl
        self._places = places
        self._installer = installer
        self._report = report
        self._asking: dict[str, anyio.Lock] = {}

    def open(self) -> None:
        """Make the directory, and forget the oldest answers when there are many."""
        self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = sorted(self._memory.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in known[:-KEPT]:
            path.unlink()

    async def resolve(
        self,
        wanted: Requirements,
        interpreter: Interpreter,
        base: Base | None,
        companions: tuple[str, ...],
        scope: str,
        *,
        within: Within | None = None,
    ) -> Resolution:
        """Return the exact list; for an image what it lacks, without asking for companions.

        Raises RequirementsFailed, Unavailable, OutOfDisk.
        """
        if not wanted.lines and not companions:
            return Resolution((), is_final=True)
        attempt = Attempt(
            wanted,
            companions,
            wanted.torch_backend(self._installer.sources.torch_backend),
            builds=wanted.runs_code,
        )
        question = self._question(attempt, interpreter, base)
        async with self._asking.setdefault(question, anyio.Lock()):
            known = self._recall(question, scope)
            if known is not None:
                return known
            try:
                found = await self._ask(attempt, interpreter, base, scope, within)
            except Unavailable as error:
                known = self._recall(question, scope, stale=True)
                if known is None:
                    raise
                self._report(f"an older resolution is used: {str(error).splitlines()[0]}")
                return known
            self._remember(question, scope if found.runs_code or within else "", found)
            return found

    async def _ask(
        self,
        attempt: Attempt,
        interpreter: Interpreter,
        base: Base | None,
        scope: str,
        within: Within | None,
    ) -> Resolution:
        following: Attempt | None = attempt
        while following is not None:
            attempt = following
            owner = scope if attempt.builds or within else None
            async with self._places.place(owner) as place:
                finished, lines = await self._compile(attempt, interpreter, base, place, within)
            if finished.code == 0:
                return _resolution(attempt, lines)
            following = attempt.after(finished.text)
        raise explain(finished.text, attempt.wanted.addresses)

    async def _compile(
        self,
        attempt: Attempt,
        interpreter: Interpreter,
        base: Base | None,
        place: Place,
        within: Within | None,
    ) -> tuple[Finished, tuple[str, ...]]:
        wishes, pins = place.scratch / "wanted.in", place.scratch / "pins.in"
        texts = attempt.wanted.texts
        _write(wishes, [*self._installer.sources.lines(), *texts, *attempt.companions])
        _write(pins, [line.text for line in attempt.wanted.lines if line.version])
        options = [] if attempt.builds else ["--no-build"]
        options += ["--overrides", str(pins)] if attempt.overrides else []
        options += ["--torch-backend", attempt.torch] if attempt.torch else []
        if base is not None:
            python = layering.stand_in(base, interpreter, place.scratch / "base")
            if place.identity is not None:
                self._places.give(place.scratch / "base")
            command = ["pip", "install", "--dry-run", "--python", str(python), "-r", str(wishes)]
            finished = await self._installer.run([*command, *options], place, within)
            return finished, tuple(layering.added(finished.text))
        exact = place.scratch / "exact.txt"
        command = ["pip", "compile", "--python", str(interpreter.path), "--no-header"]
        command += ["--no-annotate", str(wishes), "--output-file", str(exact), *options]
        finished = await self._installer.run(command, place)
        return finished, _read(exact) if finished.code == 0 else ()

    def _question(self, attempt: Attempt, interpreter: Interpreter, base: Base | None) -> str:
        sources = self._installer.sources
        return digest(
            {
                "wanted": contents(attempt.wanted),
                "companions": attempt.companions,
                "torch": attempt.torch,
                "interpreter": interpreter.fingerprint(),
                "base": list(base.packages) if base else [],
                "sources": sources.fingerprint(),
                "changed": sources.changed(),
            }
        )

    def _recall(self, question: str, scope: str, *, stale: bool = False) -> Resolution | None:
        for owner in ("", scope):
            path = self._path(question, owner)
            try:
                known = own_files.read_as(path, Resolution)
                age = time.time() - path.stat().st_mtime
            except (OSError, ValueError):
                continue
            # One of the future was written before the clock was set back: nobody knows its age.
            if known.is_final or stale or 0 <= age <= self._ttl.total_seconds():
                return known
        return None

    def _remember(self, question: str, owner: str, found: Resolution) -> None:
        path = self._path(question, owner)
        new = path.with_suffix(".new")
        try:
            new.write_text(json.dumps(dataclasses.asdict(found)))
            new.replace(path)
        except OSError as error:  # it is resolved again next time
            _log.warning("not remembered", file=str(path), trouble=str(error))

    def _path(self, question: str, owner: str) -> Path:
        name = digest({"question": question, "owner": owner})
        return self._memory / f"{name}.json"


def _resolution(attempt: Attempt, lines: tuple[str, ...]) -> Resolution:
    companions = set(attempt.companions)
    names = {line.name for line in parse(lines).lines} - companions
    is_final = attempt.wanted.pinned and names <= attempt.wanted.names
    warning = (
        "the pinned requirements contradict each other; they are installed as they are pinned"
        if attempt.overrides
        else ""
    )
    return Resolution(lines, attempt.builds, attempt.torch, is_final, warning)


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o644)


def _read(path: Path) -> tuple[str, ...]:
    """Read what a package's code may have put there: a link is not followed, a pipe not awaited."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ()
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ()
        lines = [line.strip() for line in file.read(_LONGEST_LIST).splitlines()]
    return tuple(line for line in lines if line and not line.startswith(("#", "--")))
