"""One lock for this machine's cores and memory and one per card, held for as long as we run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runner.errors import Misconfigured
from runner.handover import Locks
from runner.model import Gpu

SHARED = Path("/run/lock/studio-runner")
_LONGEST_NOTE = 4096


@dataclass(frozen=True, slots=True)
class Shared:
    """The cards that are ours, with a sentence for each that another runner gives out."""

    gpus: tuple[Gpu, ...]
    taken: tuple[str, ...] = ()


def default_directory(shared: Path = SHARED) -> Path:
    """Return the directory that all runners of this machine use, made when it is not there.

    Where this user cannot use it, a directory of the user's own: then the locks hold among the
    runners of one user.
    """
    try:
        with contextlib.suppress(FileExistsError):
            shared.mkdir()
            shared.chmod(0o1777)  # everybody's locks; the umask would have taken that away
        if os.access(shared, os.W_OK | os.X_OK) and not shared.is_symlink():
            return shared
    except OSError:
        pass
    own = Path(f"/tmp/studio-runner-{os.geteuid()}")  # noqa: S108 - checked below
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Misconfigured(f"{own} belongs to somebody else: remove it, or name --lock-dir")
    return own


class MachineLocks:
    """The locks of one daemon; a lock ends with ``close`` or with the process, however it ends."""

    def __init__(self, directory: Path, *, state_dir: Path, locks: Locks | None = None) -> None:
        """``locks`` may have been kept from before the daemon executed itself anew."""
        self._directory = directory
        self._locks = locks or Locks()
        self._note = json.dumps({"pid": os.getpid(), "state_dir": str(state_dir)}).encode()
        self._descriptors: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another runner have the machine."""
        while self._descriptors:
            self._locks.release(self._descriptors.pop())

    def take_machine(self) -> None:
        """Take cores and memory. Raises Misconfigured, naming the runner that has them."""
        if other := self._take("machine"):
            raise Misconfigured(
                f"{other} already gives out this machine's cores and memory: stop that one first, "
                "or keep the two apart (containers of their own, or bounds and a --lock-dir each)"
            )

    def take_gpus(self, gpus: Iterable[Gpu]) -> Shared:
        """Take the cards that no other runner has."""
        ours: list[Gpu] = []
        taken: list[str] = []
        for gpu in gpus:
            if other := self._take(f"gpu-{gpu.uuid}"):
                taken.append(f"{gpu.name} {gpu.uuid} is left to {other}")
            else:
                ours.append(gpu)
        return Shared(tuple(ours), tuple(taken))

    def _take(self, name: str) -> str:
        """Take one lock and return nothing, or return who has it."""
        path = self._directory / f"{name.replace('/', '_')}.lock"
        try:
            descriptor = self._locks.descriptor(path, lambda: _open(path))
        except OSError as error:
            raise Misconfigured(
                f"the lock {path} cannot be used: {error.strerror}; "
                "remove it, or name another directory with --lock-dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _owner(os.pread(descriptor, _LONGEST_NOTE, 0))
            self._locks.release(descriptor)
            return other
        self._descriptors.append(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, self._note, 0)
        return ""


def _open(path: Path) -> int:
    """Open a lock file for any user. Raises OSError when it is no plain file."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # not yet O_CREAT: in a sticky directory the kernel denies that for another user's file
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o666)  # the umask would keep the other users' runners out
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise OSError(0, "it is no plain file")
    return descriptor


def _owner(note: bytes) -> str:
    """Describe the holder; anybody may have written the note, so it is quoted and bounded."""
    try:
        known = json.loads(note)
        return f"the runner with pid {int(known['pid'])} and state directory {known['state_dir']!r}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "another runner"
