"""Which files a local store may touch: the ones inside its roots, however they are spelled."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied
from runner.stores.part import adopt

OPTION = "--local-store-root"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Spot:
    """A file inside a root: the way to it has neither links nor ``..``."""

    root: Path
    #: Directories below the root.
    parents: tuple[str, ...]
    name: str


def find(location: Location, roots: tuple[Path, ...], *, follow: bool = True) -> Spot:
    """Place ``location`` inside one of the roots. Raises AccessDenied, naming the option.

    Links are resolved first, the last component's only with ``follow``. What happens between this
    look and the opening is caught there, where no link is followed any more.
    """
    if not roots:
        raise AccessDenied(
            f"{location} cannot be used: no directory is allowed for file:// objects; "
            f"name the one that holds them with {OPTION}"
        )
    key = location.key
    if not key.startswith("/") or "\0" in key or ".." in key.split("/") or key.endswith("/"):
        raise AccessDenied(f"{key!r} is no absolute path of a file without '..'")
    path = Path(key)
    real = Path(os.path.realpath(path if follow else path.parent))
    if not follow:
        real /= path.name
    for root in roots:
        base = Path(os.path.realpath(root))
        if real.is_relative_to(base) and real != base:
            *parents, name = real.relative_to(base).parts
            return Spot(base, tuple(parents), name)
    allowed = ", ".join(map(str, roots))
    raise AccessDenied(f"{location} lies outside {allowed}; {OPTION} allows another directory")


@contextlib.contextmanager
def parent_of(spot: Spot, *, create: bool = False) -> Iterator[int]:
    """Open the directory that holds the file, step by step and following no link.

    With ``create`` missing directories are made like the one above them. Raises OSError, and
    StoreUnavailable when the root itself is not there.
    """
    try:
        here = os.open(spot.root, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreUnavailable(
            f"the directory {spot.root} of {OPTION} is not there; create it or mount it"
        ) from error
    try:
        for name in spot.parents:
            below = _step(here, name, create=create)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _step(here: int, name: str, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
    created = False
    with contextlib.suppress(FileExistsError):  # another writer was faster
        os.mkdir(name, 0o777, dir_fd=here)
        created = True
    below = os.open(name, _DIRECTORY, dir_fd=here)
    if created:
        adopt(below, here, 0o2777)  # groups share directories by their setgid bit
        os.fsync(here)
    return below


def open_file(parent: int, name: str) -> int:
    """Open a regular file for reading; anything else is an OSError, and nothing blocks."""
    # O_NONBLOCK: opening a named pipe would wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, "is no file", name)
    return descriptor


def open_directory(parent: int, name: str) -> int:
    """Open a directory for listing; anything else is an OSError."""
    return os.open(name, _DIRECTORY, dir_fd=parent)
