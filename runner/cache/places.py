"""What lies where below the directory that the operator named, and whether it is safe to use."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from runner.cache.removing import remove

#: Our own directory in the operator's, which may hold other things and is left as it is.
_OURS = "v1"
_OTHERS = 0o077


class Places:
    """The directories of a cache. They may vanish at any time, and come back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: ``st_dev`` of the directory and of the one it is in, when it was made or found.
        self._devices: tuple[int, int] | None = None
        self.root = directory / _OURS
        #: ``<key>-<bytes>``: what is complete. The names are the books.
        self.entries = self.root / "entries"
        #: One file for each key that is in use or kept; its time is that of the last use.
        self.locks = self.root / "locks"
        #: One directory for each reservation: what is being filled or removed.
        self.staging = self.root / "staging"
        #: ``<id>``: the bytes of a reservation, as a number; locked as long as its owner lives.
        self.reservations = self.root / "reservations"
        #: Locked by whoever reads or changes the books.
        self.ledger = self.root / "ledger"

    def open(self) -> None:
        """Make what is missing. Raises OSError, also for a directory that is somebody else's."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._devices = self._devices_now()
        self._make()

    def heal(self) -> None:
        """Make again what vanished; nothing, and a few system calls, where all is there.

        Not on another file system than before: a disk that was unmounted left its mount point, and
        what is below that has no room for a cache. Raises OSError.
        """
        if all(folder.is_dir() for folder in self._folders()):
            return
        if self._devices is None:
            self.open()
            return
        if self._directory.parent.stat().st_dev == self._devices[1]:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        if self._devices_now() != self._devices:
            raise OSError(errno.ENODEV, "another disk than before is mounted there")
        self._make()

    def remove(self) -> None:
        """Remove what is ours, and the directory if nothing else is in it."""
        remove(self.root)
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def exist(self) -> bool:
        """Tell whether there is a cache here."""
        return self.entries.is_dir()

    def lock(self, key: str) -> Path:
        """Return the file on which a shared lock keeps an entry."""
        return self.locks / key

    def filling(self, key: str) -> Path:
        """Return the file that is locked by who fetches an entry and computes its digest."""
        return self.locks / f"{key}.fill"

    def _folders(self) -> tuple[Path, ...]:
        return (self.entries, self.locks, self.staging, self.reservations)

    def _devices_now(self) -> tuple[int, int]:
        return self._directory.stat().st_dev, self._directory.parent.stat().st_dev

    def check(self) -> None:
        """Raise OSError unless what is there is ours: nobody else's names are followed."""
        state = self.root.stat(follow_symlinks=False)
        if not stat.S_ISDIR(state.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory", str(self.root))
        if state.st_uid != os.geteuid():
            raise PermissionError(
                errno.EPERM, f"it belongs to user {state.st_uid}, not to us", str(self.root)
            )

    def _make(self) -> None:
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.check()
        if self.root.stat().st_mode & _OTHERS:
            self.root.chmod(0o700)
        for folder in self._folders():
            folder.mkdir(mode=0o700, exist_ok=True)


def entry_name(key: str, size: int) -> str:
    """Return the name of an entry that takes ``size`` bytes."""
    return f"{key}-{size}"


def read_name(name: str) -> tuple[str, int]:
    """Return key and bytes of an entry; what is no entry has no key and is counted as nothing."""
    key, _, size = name.rpartition("-")
    return (key, int(size)) if size.isascii() and size.isdigit() else ("", 0)
