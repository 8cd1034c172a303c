"""The steps of setting the service up or taking it away: each says itself, and does itself.

All but commands look first whether they are done already, and can be told only to look.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.errors import RunnerError

#: Where system programs lie, for who called us without them in PATH.
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"


class Step(Protocol):
    """One thing to be done."""

    def describe(self) -> str:
        """Return what it is about: a path, a command."""
        ...

    def perform(self, *, really: bool) -> str:
        """Do it, or only look; return what was, or would be, done. Raises OSError, RunnerError."""
        ...


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory with its rights, whatever they were."""

    path: Path
    mode: int

    def describe(self) -> str:
        """Return path and rights."""
        return f"{self.path}/ ({self.mode:04o})"

    def perform(self, *, really: bool) -> str:
        """Make it, parents included."""
        if not self.path.is_dir():
            if really:
                self.path.mkdir(parents=True, exist_ok=True)
                self.path.chmod(self.mode)
            return "made"
        if self.path.stat().st_mode & 0o7777 != self.mode:
            if really:
                self.path.chmod(self.mode)
            return "rights changed"
        return "is there"


@dataclass(frozen=True, slots=True)
class File:
    """A file with its content."""

    path: Path
    text: str
    mode: int = 0o644
    #: It is the operator's once it is there.
    keep: bool = False

    def describe(self) -> str:
        """Return path and rights."""
        return f"{self.path} ({self.mode:04o})"

    def perform(self, *, really: bool) -> str:
        """Write it, whole or not at all."""
        is_there = os.path.lexists(self.path)
        if is_there and self.keep:
            return "kept as it is"
        if is_there and self._is_right():
            return "is there"
        if really:
            self._write()
        return "written anew" if is_there else "written"

    def _is_right(self) -> bool:
        if self.path.is_symlink() or self.path.stat().st_mode & 0o7777 != self.mode:
            return False
        return self.path.read_text(encoding="utf-8", errors="replace") == self.text

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.text)
        part.chmod(self.mode)
        part.replace(self.path)


@dataclass(frozen=True, slots=True)
class Gone:
    """A file that is to go, or a directory with all that is in it."""

    path: Path
    #: The directory it was in as well, if nothing else is left there: a unit's drop-ins.
    and_empty_parent: bool = False

    def describe(self) -> str:
        """Return the path."""
        return str(self.path)

    def perform(self, *, really: bool) -> str:
        """Remove it; a link, not what it leads to."""
        if not os.path.lexists(self.path):
            return "is not there"
        if really and self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        elif really:
            self.path.unlink()
            if self.and_empty_parent:
                with suppress(OSError):  # somebody has more in it
                    self.path.parent.rmdir()
        return "removed"


@dataclass(frozen=True, slots=True)
class Command:
    """A program of the machine's that is run."""

    argv: tuple[str, ...]
    #: It may have nothing to do, which some programs call a failure.
    may_fail: bool = False
    #: Seconds that it may take.
    patience: float = 120.0

    def describe(self) -> str:
        """Return the command line."""
        return " ".join(self.argv)

    def perform(self, *, really: bool) -> str:
        """Run it. Raises RunnerError with what it said when it fails."""
        if not really:
            return "run"
        try:
            done = subprocess.run(
                self.argv,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                env={"PATH": PROGRAMS, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                timeout=self.patience,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunnerError(f"{self.describe()} cannot be run: {error}") from error
        if done.returncode == 0:
            return "done"
        said = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        if self.may_fail:
            return f"nothing to do ({said})"
        raise RunnerError(f"{self.describe()} failed: {said}")


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is left alone, and why."""

    about: str
    why: str

    def describe(self) -> str:
        """Return what it is about."""
        return self.about

    def perform(self, *, really: bool) -> str:
        """Return the reason."""
        del really
        return self.why
