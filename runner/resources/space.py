"""What a file system has in all and free, asked without waiting for one that does not answer.

A file system over a network, or of a program of its own (FUSE), may let its callers hang for hours,
and whoever asks is the daemon's event loop.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds that the caller waits for an answer; disks of this machine answer in microseconds.
_AT_ONCE = 0.02
#: The same, while nothing is known of a file system.
_FIRST = 2.0
#: Seconds for which an earlier answer does instead.
STALE = 10.0

Found = os.statvfs_result


@dataclass(eq=False)
class _Asked:
    """One question, and what came of it."""

    answer: Found | OSError | None = None
    answered_at: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False, slots=True)
class _Place:
    """What is known of one file system."""

    #: Under way, or ended and not yet looked at.
    asked: _Asked | None = None
    last: Found | None = None
    answered_at: float = 0.0


class Space:
    """Asks in threads that nobody waits for, not even the end of the process; one per directory.

    Used in one thread.
    """

    def __init__(
        self,
        ask: Callable[[Path], Found] = os.statvfs,
        *,
        clock: Callable[[], float] = time.monotonic,
        at_once: float = _AT_ONCE,
        first: float = _FIRST,
    ) -> None:
        """``at_once`` and ``first``: how long a question may hold up the caller, in seconds."""
        self._ask = ask
        self._clock = clock
        self.at_once = at_once
        self.first = first
        self._places: dict[Path, _Place] = {}

    def of(self, place: Path, *, recent: float = 0.0) -> Found:
        """Return what there is, or what there was within the last ten seconds.

        Nobody is asked where an answer of the last ``recent`` seconds is there. Raises OSError; its
        kind is ``TimeoutError`` where no answer has come for ten seconds.
        """
        known = self._places.setdefault(place, _Place())
        if known.last is not None and self._clock() - known.answered_at < recent:
            return known.last
        if known.asked is not None and known.asked.ended.is_set():
            _note(known, known.asked)
        if known.asked is None:  # who hangs is neither waited for a second time nor asked one
            known.asked = asked = self._begin(place)
            if asked.ended.wait(self.first if known.last is None else self.at_once):
                _note(known, asked)
                if isinstance(asked.answer, OSError):
                    raise asked.answer
        if known.last is None or self._clock() - known.answered_at > STALE:
            raise TimeoutError(errno.ETIMEDOUT, "its file system does not answer", str(place))
        return known.last

    def _begin(self, place: Path) -> _Asked:
        asked = _Asked()

        def ask() -> None:
            try:
                asked.answer = self._ask(place)
            except OSError as error:
                asked.answer = error
            asked.answered_at = self._clock()
            asked.ended.set()

        try:
            threading.Thread(target=ask, name="space", daemon=True).start()
        except RuntimeError:  # this user has as many as it may
            asked.answer = OSError(errno.EAGAIN, "no thread can be started to ask for its space")
            asked.ended.set()
        return asked


def _note(known: _Place, asked: _Asked) -> None:
    known.asked = None
    known.last = None if isinstance(asked.answer, OSError) else asked.answer
    known.answered_at = asked.answered_at


#: Of the daemon.
SPACE = Space()
