"""Which files of a working directory a submission takes along, and which it leaves and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.archives.credentials import (
    LONGEST,
    content_is_suspect,
    how_much_tells,
    name_is_suspect,
)
from runner.archives.ignoring import GIT, STUDIO, IgnoreFiles, Verdict
from runner.archives.links import portable_target
from runner.archives.stopping import Check, check_of
from runner.archives.walk import walk
from runner.model import Bytes

_HISTORY = frozenset({".git", ".hg", ".svn"})
#: A file in each environment that says what it is: of venv and of conda.
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or a whole directory that stays behind."""

    name: str
    #: One clause for a person.
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What is packed: ``pack_directory(workspace, stream, keep=selection.keeps)``."""

    #: Files and links by relative name, with their bytes (none for links), in the order packed.
    files: dict[str, Bytes]
    directories: frozenset[str]
    left_out: tuple[LeftOut, ...]

    @property
    def bytes(self) -> Bytes:
        """The size of all files together."""
        return Bytes(sum(self.files.values()))

    def keeps(self, name: str) -> bool:
        """Tell whether a relative name was selected."""
        return name in self.files or name in self.directories


def select(workspace: Path, *, check: Check | None = None) -> Selection:
    """Choose the files of ``workspace``. Raises OSError when it cannot be read.

    Left out are what ``.gitignore`` and ``.studioignore`` files name (in gitignore syntax, nested,
    with negation; ``.studioignore`` has the last word), version control, caches of bytecode,
    virtual environments, files that look like credentials, links that leave the workspace, and
    what is no file. A line ``!name`` in ``.studioignore`` takes along what would be left out for
    any of these reasons but the last two.
    """
    chooser = _Chooser(workspace.absolute())
    check = check_of(None, check)
    files: dict[str, Bytes] = {}
    directories: set[str] = set()
    for entry in walk(workspace, chooser.leave, chooser.keeps):
        check()
        if stat.S_ISDIR(entry.state.st_mode):
            directories.add(entry.name)
        else:
            is_link = stat.S_ISLNK(entry.state.st_mode)
            files[entry.name] = Bytes(0 if is_link else entry.state.st_size)
    return Selection(files, frozenset(directories), tuple(chooser.left_out))


class _Chooser:
    """Applies the rules in the order in which a reason is most useful."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._studio = IgnoreFiles(root, STUDIO)
        self._git = IgnoreFiles(root, GIT)
        self.left_out: list[LeftOut] = []

    def leave(self, name: str, reason: str) -> None:
        self.left_out.append(LeftOut(name, reason))

    def keeps(self, name: str, state: os.stat_result) -> bool:
        reason = self._why_impossible(name, state) or self._why_not(name, state)
        if reason:
            self.leave(name, reason)
        return not reason

    def _why_impossible(self, name: str, state: os.stat_result) -> str:
        if stat.S_ISLNK(state.st_mode):
            return self._why_not_link(name)
        if not stat.S_ISDIR(state.st_mode) and not stat.S_ISREG(state.st_mode):
            return "it is no file, directory or link"
        return ""

    def _why_not_link(self, name: str) -> str:
        try:
            target = str((self._root / name).readlink())
        except OSError as error:
            return f"the link cannot be read: {error.strerror}"
        if portable_target(self._root, name, target) is None:
            return f"it is a link to {target}, outside the workspace"
        return ""

    def _why_not(self, name: str, state: os.stat_result) -> str:
        directory = stat.S_ISDIR(state.st_mode)
        verdict = self._studio.about(name, directory=directory)
        if verdict is Verdict.WANTED:
            return ""
        if verdict is Verdict.IGNORED:
            return f"{STUDIO} ignores it"
        builtin = self._builtin(directory=directory)
        return next((why for rule in builtin if (why := rule(name, state))), "")

    def _builtin(self, *, directory: bool) -> tuple[Callable[[str, os.stat_result], str], ...]:
        if directory:
            return (self._directory, self._ignored)
        # Credentials come last: most are ignored, and only then is nothing read.
        return (self._ignored, self._credential)

    def _ignored(self, name: str, state: os.stat_result) -> str:
        verdict = self._git.about(name, directory=stat.S_ISDIR(state.st_mode))
        return f"{GIT} ignores it" if verdict is Verdict.IGNORED else ""

    def _directory(self, name: str, _: os.stat_result) -> str:
        base = name.rpartition("/")[2]
        if base in _HISTORY:
            return "it is version control"
        if base == "__pycache__":
            return "it is a cache of bytecode"
        if any((self._root / name / mark).exists() for mark in _ENVIRONMENT_MARKS):
            return "it is a Python environment, which the runner builds anew"
        if name_is_suspect(base, directory=True):
            return _looks_like_credentials(base)
        return ""

    def _credential(self, name: str, state: os.stat_result) -> str:
        base = name.rpartition("/")[2]
        suspect = name_is_suspect(base, directory=False)
        if not suspect and stat.S_ISREG(state.st_mode) and state.st_size <= LONGEST:
            try:
                with (self._root / name).open("rb") as file:
                    suspect = content_is_suspect(base, file.read(how_much_tells(base)))
            except OSError as error:
                return f"it cannot be read: {error.strerror}"
        return _looks_like_credentials(base) if suspect else ""


def _looks_like_credentials(base: str) -> str:
    return f"it looks like credentials; a line !{base} in {STUDIO} takes it along"
