"""What lies in a watched directory now: a stamp of every file, by its path, and nothing read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

#: A directory of more entries is no directory of credentials.
MOST_ENTRIES = 10_000
DEEPEST = 8
#: These say for certain that there is nothing.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_FOR_OTHERS = stat.S_IROTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file; equal stamps mean that nothing was changed."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take what matters of a status."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_mode,
        )


@dataclass(slots=True)
class Tree:
    """The files below one directory."""

    #: By absolute path; links are followed.
    files: dict[str, Stamp] = field(default_factory=dict)
    #: Directories and files that cannot be looked at now, with the reason: what was in them may
    #: still be there.
    hidden: dict[str, str] = field(default_factory=dict)
    #: Files that every user of the machine can read.
    exposed: set[str] = field(default_factory=set)
    #: Entries seen.
    entries: int = 0

    @property
    def is_too_large(self) -> bool:
        """Tell whether the look was broken off."""
        return self.entries > MOST_ENTRIES

    def may_hold(self, path: str) -> bool:
        """Tell whether a file that was not seen may yet be there."""
        return self.is_too_large or any(
            path == hidden or path.startswith(hidden + os.sep) for hidden in self.hidden
        )


def look(root: str) -> Tree:
    """Walk ``root``, a directory or one file; names that begin with a dot are passed over.

    Links are followed, so that a file of a Kubernetes volume (``key``, a link to ``..data/key``)
    is one file whose stamp changes when the volume is swapped.
    """
    tree = Tree()
    try:
        status = os.stat(root)  # noqa: PTH116 - strings all along: there may be thousands
    except OSError as error:
        _note(tree, root, error)
        return tree
    if stat.S_ISDIR(status.st_mode):
        _walk(tree, root, status, (), open_to_all=True)
    elif stat.S_ISREG(status.st_mode):
        _file(tree, root, status, open_to_all=True)
    return tree


def _walk(
    tree: Tree,
    directory: str,
    status: os.stat_result,
    above: tuple[tuple[int, int], ...],
    *,
    open_to_all: bool,
) -> None:
    here = (status.st_dev, status.st_ino)
    if here in above or len(above) >= DEEPEST:
        return
    open_to_all = open_to_all and bool(status.st_mode & _FOR_OTHERS)
    for entry in _entries(tree, directory):
        try:
            found = entry.stat()
        except OSError as error:
            _note(tree, entry.path, error)
            continue
        if stat.S_ISDIR(found.st_mode):
            _walk(tree, entry.path, found, (*above, here), open_to_all=open_to_all)
        elif stat.S_ISREG(found.st_mode):
            _file(tree, entry.path, found, open_to_all=open_to_all)


def _file(tree: Tree, path: str, status: os.stat_result, *, open_to_all: bool) -> None:
    tree.files[path] = Stamp.of(status)
    if open_to_all and status.st_mode & stat.S_IROTH:
        tree.exposed.add(path)


def _entries(tree: Tree, directory: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            listed = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        _note(tree, directory, error)
        return
    for entry in listed:
        tree.entries += 1
        if tree.is_too_large:
            return
        yield entry


def _note(tree: Tree, path: str, error: OSError) -> None:
    if error.errno not in _ABSENT:
        tree.hidden[path] = error.strerror or str(error)
