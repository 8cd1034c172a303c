"""A directory's entries in a fixed order, safe from whoever changes it meanwhile."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Every level costs an open descriptor; ``unpack`` goes as deep.
DEEPEST = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a directory tree, at the moment of the look."""

    #: Relative to the tree, with ``/``.
    name: str
    state: os.stat_result
    #: The open directory that holds it; valid until the next entry is asked for.
    parent: int

    @property
    def base(self) -> str:
        """The name within the directory."""
        return self.name.rpartition("/")[2]

    def open(self) -> int:
        """Open a file for reading, and nothing that was put in its place. Raises OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(self.base, flags, dir_fd=self.parent)

    def target(self) -> str:
        """Return where a link points. Raises OSError."""
        return os.readlink(self.base, dir_fd=self.parent)


def open_in_place(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open what is at ``path`` if neither it nor the directory that holds it is a link.

    It never blocks, and no process that is started inherits it. Raises OSError.
    """
    parent = os.open(path.parent, _DIRECTORY)
    try:
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path.name, flags, mode, dir_fd=parent)
    finally:
        os.close(parent)


Skipped = Callable[[str, str], None]
"""Told the name and the reason of what is left out."""


Keep = Callable[[str, os.stat_result], bool]
"""Whether an entry counts; a directory that does not is not entered."""


def everything(name: str, state: os.stat_result) -> bool:
    """Keep all."""
    del name, state
    return True


def walk(root: Path, skipped: Skipped, keep: Keep = everything) -> Iterator[Entry]:
    """Yield everything below ``root``, sorted, a directory before its content.

    Links are never followed, not even one that replaces a directory during the walk: a daemon
    that is root must not be led elsewhere by the experiment whose files it packs. What vanishes
    is passed over; what cannot be entered is told to ``skipped``. Raises OSError for ``root``.
    """
    here = os.open(root, _DIRECTORY)
    try:
        yield from _below(here, "", 0, skipped, keep)
    finally:
        os.close(here)


def _below(here: int, prefix: str, depth: int, skipped: Skipped, keep: Keep) -> Iterator[Entry]:
    for base in sorted(os.listdir(here)):
        name = prefix + base
        try:
            state = os.stat(base, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except PermissionError as error:  # a directory that may be listed and not entered
            skipped(name, f"it cannot be looked at: {error.strerror}")
            continue
        if not keep(name, state):
            continue
        if not stat.S_ISDIR(state.st_mode):
            yield Entry(name, state, here)
        elif depth == DEEPEST:
            skipped(name, f"it is more than {DEEPEST} levels deep")
        else:
            yield Entry(name, state, here)
            with _entered(base, here, name, skipped) as below:
                if below is not None:
                    yield from _below(below, f"{name}/", depth + 1, skipped, keep)


@contextlib.contextmanager
def _entered(base: str, here: int, name: str, skipped: Skipped) -> Iterator[int | None]:
    below = None
    try:
        below = os.open(base, _DIRECTORY, dir_fd=here)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError as error:
        skipped(name, f"it cannot be entered: {error.strerror}")
    try:
        yield below
    finally:
        if below is not None:
            os.close(below)
