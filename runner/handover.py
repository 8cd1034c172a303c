"""Locks that a daemon keeps while it executes itself anew, so that no second one slips in.

A lock of ``flock`` belongs to the open file: opened once more after the exec, the daemon would
refuse itself. So the descriptors stay open across it, and a variable of the environment names them.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

#: ``PID:NUMBER,NUMBER``; an exec keeps the pid, so what another process left there counts nothing.
VARIABLE = "STUDIO_RUNNER_KEPT_LOCKS"


class Locks:
    """The descriptors of the locks that one daemon holds as long as it runs."""

    def __init__(self) -> None:
        self._inherited: list[int] = []
        self._held: list[int] = []
        self._is_kept = False
        #: This process was a daemon before its exec.
        self.were_kept = False

    @classmethod
    def inherited(cls, environ: MutableMapping[str, str]) -> Locks:
        """Take over what this process had before its exec; the variable is gone afterwards.

        Nothing is believed: a descriptor counts for the file it is open on, and its lock is taken
        like that of one just opened.
        """
        locks = cls()
        pid, _, numbers = environ.pop(VARIABLE, "").partition(":")
        if pid == str(os.getpid()):
            locks.were_kept = True
            locks._inherited = list(_lockable(numbers))
        for descriptor in locks._inherited:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        return locks

    def descriptor(self, path: Path, opened: Callable[[], int]) -> int:
        """Return the inherited descriptor of the file at ``path``, else what ``opened`` returns.

        Raises OSError. To be locked by the caller, and to be given to ``release`` in the end.
        """
        found = next((number for number in self._inherited if _is_at(number, path)), None)
        if found is not None:
            self._inherited.remove(found)
        descriptor = opened() if found is None else found
        self._held.append(descriptor)
        return descriptor

    def release(self, descriptor: int) -> None:
        """Give a lock back, unless it is to be kept."""
        if not self._is_kept:
            self._held.remove(descriptor)
            os.close(descriptor)

    def release_rest(self) -> None:
        """Give back what was inherited and is not wanted any more: an option has changed."""
        while self._inherited:
            os.close(self._inherited.pop())

    def keep(self) -> None:
        """Let no lock go from now on: the process will execute itself."""
        self._is_kept = True

    def pass_on(self, environ: MutableMapping[str, str]) -> None:
        """Have all that is held stay open across the exec that follows at once."""
        for descriptor in self._held:
            fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
        environ[VARIABLE] = f"{os.getpid()}:{','.join(map(str, self._held))}"


def _lockable(numbers: str) -> Iterator[int]:
    for word in numbers.split(","):
        try:
            descriptor = int(word)
            mode = os.fstat(descriptor).st_mode
        except (ValueError, OverflowError, OSError):
            continue
        if descriptor > 2 and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # noqa: PLR2004 - stderr
            yield descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except OSError:
        return False
