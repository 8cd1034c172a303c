"""One lock for this machine's cores and memory and one per card, held for as long as we run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runner import own_files
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.model import Gpu
from runner.resources.lock_holder import holder, note_of, noted

SHARED = Path("/run/lock/studio-runner")
_LONGEST_NOTE = 4096
_SOMEBODY = "another runner"


@dataclass(frozen=True, slots=True)
class Shared:
    """The cards that are ours, and those that another runner gives out."""

    gpus: tuple[Gpu, ...]
    #: Each with whoever has it.
    taken: tuple[tuple[Gpu, str], ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Tell of each that is taken."""
        return tuple(f"{gpu.name} {gpu.uuid} is left to {other}" for gpu, other in self.taken)


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


def existing_directory(shared: Path = SHARED) -> Path:
    """Return the directory that ``default_directory`` has made or would make, and make nothing."""
    usable = os.access(shared if shared.exists() else shared.parent, os.W_OK | os.X_OK)
    return shared if usable else Path(f"/tmp/studio-runner-{os.geteuid()}")  # noqa: S108 - looked at alone


def lock_of(directory: Path, uuid: str) -> Path:
    """Return the lock of a card."""
    return _path(directory, f"gpu-{uuid}")


def left(directory: Path, state_dir: Path, gpus: Iterable[Gpu]) -> Shared:
    """Return what a daemon would be given now, and lock nothing.

    What the daemon of this state directory has counts as its own.
    """
    ours: list[Gpu] = []
    taken: list[tuple[Gpu, str]] = []
    for gpu in gpus:
        whole = gpu.parent and _elsewhere(directory, state_dir, gpu.parent, alone=True)
        if other := whole or _elsewhere(directory, state_dir, gpu.uuid):
            taken.append((gpu, other))
        else:
            ours.append(gpu)
    return Shared(tuple(ours), tuple(taken))


def _elsewhere(directory: Path, state_dir: Path, uuid: str, *, alone: bool = False) -> str:
    path = lock_of(directory, uuid)
    if holder(path, alone=alone) is None:
        return ""
    try:
        known = noted(own_files.read(path)[:_LONGEST_NOTE])
    except OSError:
        known = None
    is_ours = known is not None and known.state_dir == str(state_dir)
    return "" if is_ours else str(known or _SOMEBODY)


class MachineLocks:
    """The locks of one daemon; a lock ends with ``close`` or with the process, however it ends."""

    def __init__(self, directory: Path, *, state_dir: Path, locks: Locks | None = None) -> None:
        """``locks`` may have been kept from before the daemon executed itself anew."""
        self._directory = directory
        self._locks = locks or Locks()
        self._note = note_of(state_dir)
        self._descriptors: list[int] = []
        #: By UUID of a card of which parts were wanted: who has the whole of it, or nobody.
        self._wholes: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another runner have the machine."""
        while self._descriptors:
            self._locks.release(self._descriptors.pop())
        self._wholes.clear()

    def take_machine(self, *, is_bounded: bool = False) -> None:
        """Take cores and memory. Raises Misconfigured, naming the runner that has them.

        Daemons that all give out no more than they are told to may be several.
        """
        if other := self._take("machine", is_shared=is_bounded):
            raise Misconfigured(
                f"{other} already gives out this machine's cores and memory: stop that one first, "
                "or keep the two apart: give each its own --max-cores and --max-mem, and its cards "
                "by CUDA_VISIBLE_DEVICES; or run them in containers of their own"
            )

    def take_gpus(self, gpus: Iterable[Gpu]) -> Shared:
        """Take the cards that no other runner has."""
        ours: list[Gpu] = []
        taken: list[tuple[Gpu, str]] = []
        for gpu in gpus:
            if other := self._whole(gpu.parent) or self._take(f"gpu-{gpu.uuid}"):
                taken.append((gpu, other))
            else:
                ours.append(gpu)
        return Shared(tuple(ours), tuple(taken))

    def _whole(self, card: str) -> str:
        """Return who has the whole of a card; where nobody has, keep it so.

        MIG may be switched on or off while a daemon runs, and a card has another name then.
        """
        if card and card not in self._wholes:
            self._wholes[card] = self._take(f"gpu-{card}", is_shared=True)
        return self._wholes.get(card, "")

    def _take(self, name: str, *, is_shared: bool = False) -> str:
        """Take one lock and return nothing, or return who has it."""
        path = _path(self._directory, name)
        try:
            descriptor = self._locks.descriptor(path, lambda: _open(path))
        except OSError as error:
            raise Misconfigured(
                f"the lock {path} cannot be used: {error.strerror}; "
                "remove it, or name another directory with --lock-dir"
            ) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = str(noted(os.pread(descriptor, _LONGEST_NOTE, 0)) or _SOMEBODY)
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


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name.replace('/', '_')}.lock"
