"""What the files of one watched directory say: read when they have settled, bounded, kept."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from runner.queues.credentials.settled import Settled
from runner.queues.credentials.tree import MOST_ENTRIES, Stamp, Tree, look

#: No credential is larger: a Google key has 2.4 kB, a bundle of authorities some 200 kB.
LARGEST = 512 * 1024


class _Changed(Exception):
    """The file is not the one that was looked at."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that the operator should know of."""

    #: An absolute path, or the name of an option.
    about: str
    #: What is wrong and what helps; no secret.
    sentence: str
    #: The trouble is said anew when this changes.
    version: object = field(default=None, repr=False)


class Contents:
    """The files below one root, as they last were whole. Everything here blocks."""

    def __init__(self, root: str, quiet: float) -> None:
        self.root = root
        self._quiet = quiet
        self._settled = Settled(quiet)
        self._read: dict[str, Stamp] = {}
        #: What each file says; one that cannot be read any more keeps what it said.
        self.texts: dict[str, str] = {}
        self._unreadable: dict[str, Trouble] = {}
        self._tree = Tree()
        self._is_first = True
        #: Grows with every change of ``texts``.
        self.version = 0

    def look(self, now: float, wall: float) -> None:
        """Look at the directory, and read what has settled; times in seconds.

        ``wall`` is the time of day: at the first look, what was last changed long before it counts.
        """
        oldest = (wall - self._quiet) * 1e9 if self._is_first else 0
        self._is_first = False
        self._tree = look(self.root)
        self._settled.look(
            now,
            self._tree.files,
            may_hold=self._tree.may_hold,
            is_old=lambda stamp: stamp.ctime_ns < oldest,
        )
        versions = self._settled.versions
        for path in [path for path in self._read if path not in versions]:
            self._forget(path)
        for path, stamp in versions.items():
            if self._read.get(path) != stamp:
                self._take(path, stamp, now)

    @property
    def waits(self) -> bool:
        """Tell whether a file is about to settle."""
        return self._settled.waits

    @property
    def exposed(self) -> set[str]:
        """Files that every user of this machine can read."""
        return self._tree.exposed

    @property
    def stamps(self) -> dict[str, Stamp]:
        """Which version of each file was read last."""
        return self._read

    @property
    def troubles(self) -> list[Trouble]:
        """What could not be looked at or read."""
        found = [
            Trouble(path, f"cannot be looked at: {reason}; let {_me()} read it", reason)
            for path, reason in self._tree.hidden.items()
        ]
        if self._tree.is_too_large:
            most = f"has more than {MOST_ENTRIES} entries, and the rest is not looked at"
            found.append(Trouble(self.root, f"{most}: name a directory of credentials alone"))
        return [*found, *self._unreadable.values()]

    def _take(self, path: str, stamp: Stamp, now: float) -> None:
        try:
            text = _text(path, stamp)
        except _Changed:
            self._settled.disturb(path, now)
            return
        except (OSError, ValueError) as error:
            self._unreadable[path] = Trouble(path, _why(error), stamp)
        else:
            self._unreadable.pop(path, None)
            if self.texts.get(path) != text:
                self.texts[path] = text
                self.version += 1
        self._read[path] = stamp

    def _forget(self, path: str) -> None:
        # It is settling anew, or nobody can tell at the moment.
        if path in self._tree.files or self._tree.may_hold(path):
            return
        del self._read[path]
        self._unreadable.pop(path, None)
        if self.texts.pop(path, None) is not None:
            self.version += 1


def _text(path: str, stamp: Stamp) -> str:
    """Return what the file says. Raises OSError, ValueError, _Changed."""
    if stamp.size > LARGEST:
        raise ValueError(f"has {stamp.size} bytes, too many for a credential: it was not read")
    # Should it have become a pipe, nobody waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(handle, "rb") as file:
        if Stamp.of(os.fstat(handle)) != stamp or not stat.S_ISREG(stamp.mode):
            raise _Changed
        data = file.read(LARGEST + 1)
        if Stamp.of(os.fstat(handle)) != stamp:
            raise _Changed
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise ValueError("is no text: remove it, or put a credential in its place") from None


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}; let {_me()} read it"
    return str(error)


def _me() -> str:
    return f"the daemon's user (uid {os.geteuid()})"
