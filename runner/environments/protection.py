"""Makes a finished build nobody's to change, and can take such a directory away again.

A build that ran a package's code may have left anything: links, devices, programs with a set-user
bit, second names of other people's files. Nothing here follows a link.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from runner.errors import Misconfigured, RequirementsFailed
from runner.model import Identity

_ANY_EXECUTE = 0o111
#: Far more than packages have; those who look at an environment go down by recursion.
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class Protection:
    """By what a shared environment is kept from being changed by the runs that use it."""

    #: Builds that run a package's code run as this user; ``None``: the daemon's own.
    builder: Identity | None
    #: Experiments run as this user; ``None``: the daemon's own.
    runner: Identity | None
    is_root: bool

    @classmethod
    def of(cls, builder: Identity | None, runner: Identity | None) -> Protection:
        """Return the protection of this process; only root can be another user."""
        if os.geteuid() != 0:
            return cls(None, None, is_root=False)
        return cls(builder, runner or builder, is_root=True)

    @property
    def is_by_ownership(self) -> bool:
        """Experiments are another user than the owner: nothing needs to be checked."""
        return self.is_root and self.runner is not None and self.runner.uid != 0

    def check(self, root: Path) -> None:
        """Raise Misconfigured when a user cannot get to what lies below ``root``."""
        for identity in (self.builder, self.runner):
            closed = identity and _closed_to(root.resolve(), identity)
            if identity and closed:
                raise Misconfigured(
                    f"experiments run as user {identity.uid}, who may not pass through {closed} to "
                    f"the environments in {root}: chmod o+x {closed}, or choose another directory"
                )


def _closed_to(path: Path, identity: Identity) -> Path | None:
    for folder in reversed((path, *path.parents)):
        found = folder.stat()
        needed = stat.S_IXOTH
        if found.st_uid == identity.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == identity.gid:
            needed = stat.S_IXGRP
        if identity.uid != 0 and not found.st_mode & needed:
            return folder
    return None


def seal(root: Path, builder: Identity | None) -> None:
    """Take the tree from ``builder`` and make it read-only for all; blocks.

    As an ordinary user the missing write bits stop the accident, the manifest tells of the rest.
    Raises RequirementsFailed when the build left something that is no file, link or directory, or
    that is not its own, and for directories within directories without end.
    """
    if builder is not None:
        os.chown(root, 0, 0)
        root.chmod(0o700)
    top = str(root).count("/")
    for folder, folders, files, descriptor in os.fwalk(str(root), follow_symlinks=False):
        if folder.count("/") - top > _DEEPEST:
            raise RequirementsFailed(f"a package is more than {_DEEPEST} directories deep")
        for name in (*folders, *files):
            _seal_entry(Path(folder) / name, name, descriptor, builder)
        # a directory that cannot be written to cannot be moved into place by its ordinary owner
        _give(descriptor, 0o755 if folder == str(root) else 0o555, builder)


def _seal_entry(path: Path, name: str, folder: int, builder: Identity | None) -> None:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if builder is not None and found.st_uid != builder.uid:
        raise RequirementsFailed(f"the build left {path.name!r}, which is not its own")
    if stat.S_ISDIR(found.st_mode):
        return
    if stat.S_ISLNK(found.st_mode):
        if builder is not None:
            os.chown(name, 0, 0, dir_fd=folder, follow_symlinks=False)
        return
    if not stat.S_ISREG(found.st_mode) or (builder is not None and found.st_nlink > 1):
        raise RequirementsFailed(f"the build left {path.name!r}, which is no ordinary file")
    mode = 0o555 if found.st_mode & _ANY_EXECUTE else 0o444
    if builder is None:  # no foreign code ran: what was looked at is what is there
        os.chmod(name, mode, dir_fd=folder)
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        _give(descriptor, mode, builder)
    finally:
        os.close(descriptor)


def _give(descriptor: int, mode: int, builder: Identity | None) -> None:
    if builder is not None:
        os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, mode)
