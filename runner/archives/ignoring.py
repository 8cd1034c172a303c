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
        self._specs: dict[Path, pathspec.GitIgnoreSpec | None] = {}
        self._above = _repository_above(root)

    def about(self, name: str, *, directory: bool) -> Verdict | None:
        """Return the verdict on a relative name whose parents are not ignored."""
        path = self._root / name
        for above in path.parents:
            spec = self._spec(above)
            if spec is not None:
                relative = path.relative_to(above).as_posix() + ("/" if directory else "")
                include = spec.check_file(relative).include
                if include is not None:
                    return Verdict.IGNORED if include else Verdict.WANTED
            if above == self._above:
                break
        return None

    def _spec(self, directory: Path) -> pathspec.GitIgnoreSpec | None:
        if directory not in self._specs:
            try:
                text = (directory / self._name).read_text(encoding="utf-8", errors="replace")
            except OSError:  # there is none, or none for us
                self._specs[directory] = None
            else:
                self._specs[directory] = _parse(text)
        return self._specs[directory]


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
