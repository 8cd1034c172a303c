"""What ``.gitignore`` and ``.studioignore`` files say about a path."""

from __future__ import annotations

import enum
from pathlib import Path

import pathspec

GIT = ".gitignore"
STUDIO = ".studioignore"


class Verdict(enum.Enum):
    """What the last pattern that matches says."""

    IGNORED = enum.auto()
    #: Named by a pattern that begins with ``!``.
    WANTED = enum.auto()


class IgnoreFiles:
    """The ignore files of one kind, in a directory, below it, and above it in its repository.

    As git reads them: a deeper file wins, in one file the last line.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._above = _repository_above(root)
        #: For each directory, what its own file and those above say, the deepest first.
        self._rules: dict[Path, tuple[tuple[Path, pathspec.GitIgnoreSpec], ...]] = {}

    def about(self, name: str, *, directory: bool) -> Verdict | None:
        """Return the verdict on a relative name whose parents are not ignored."""
        path = self._root / name
        for above, spec in self._rules_in(path.parent):
            relative = path.relative_to(above).as_posix() + ("/" if directory else "")
            include = spec.check_file(relative).include
            if include is not None:
                return Verdict.IGNORED if include else Verdict.WANTED
        return None

    def _rules_in(self, directory: Path) -> tuple[tuple[Path, pathspec.GitIgnoreSpec], ...]:
        if directory not in self._rules:
            inherited = () if directory == self._above else self._rules_in(directory.parent)
            try:
                text = (directory / self._name).read_text(encoding="utf-8", errors="replace")
            except OSError:  # there is none, or none for us
                self._rules[directory] = inherited
            else:
                self._rules[directory] = ((directory, _parse(text)), *inherited)
        return self._rules[directory]


def _parse(text: str) -> pathspec.GitIgnoreSpec:
    lines = text.splitlines()
    try:
        return pathspec.GitIgnoreSpec.from_lines(lines)
    except ValueError:  # git passes over lines that are no pattern
        return pathspec.GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))


def _is_pattern(line: str) -> bool:
    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _repository_above(root: Path) -> Path:
    """Return the highest directory whose ignore files count."""
    return next((path for path in (root, *root.parents) if (path / ".git").exists()), root)
