"""The waiting messages of one directory and how the oldest of them becomes ours."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

import structlog

from runner.errors import LeaseLost
from runner.queues.local import claims, counts, names
from runner.queues.local.beats import Holder
from runner.queues.local.index import Entry, Index
from runner.queues.local.places import Places

log = structlog.stdlib.get_logger(__name__)


class Taken(NamedTuple):
    """A message that was just claimed."""

    claim: claims.Claim
    #: As far as it is written.
    body: bytes
    stamp: claims.Stamp
    #: This time included.
    times: int


class Lane:
    """One directory of messages with its index; everything here blocks and runs in threads."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.index = Index()

    def refresh(self) -> None:
        """Compare the index with the directory."""
        before = self.index.names()
        present, entries = self.places.look(before)
        self.index.drop(before - present)
        self.index.add(entries)

    def head(self) -> Entry | None:
        """Return the oldest message after a look at what was noted."""
        for name in self.index.noted():
            entry = self._entry(name)
            if entry is not None:
                self.index.add([entry])
        return self.index.head()

    def take(self, holder: Holder) -> Taken | None:
        """Claim the oldest message; ``None`` when somebody else was faster, or it is none."""
        entry = self.index.pop()
        if entry is None:
            return None
        try:
            claim = claims.take(self.places, entry.name, holder)
        except OSError as error:
            if self._refuses_all(error):
                self.index.add([entry])
                raise
            self._set_aside(entry.name, error.strerror or str(error))
            return None
        return None if claim is None else self._read(claim)

    def give_back(self, taken: Taken) -> None:
        """Undo ``take``, the count included."""
        counts.write(self.places, taken.claim.name, taken.times - 1)
        claims.give_back(taken.claim)
        self.index.note(taken.claim.name)

    def _read(self, claim: claims.Claim) -> Taken | None:
        try:
            body, stamp = claims.read(claim)
        except claims.NotAMessage as error:
            claims.give_back(claim)
            self._set_aside(claim.name, str(error))
            return None
        except LeaseLost:
            return None
        times = counts.read(self.places, claim.name) + 1
        try:
            counts.write(self.places, claim.name, times)
        except OSError:
            claims.give_back(claim)
            raise
        return Taken(claim, body, stamp, times)

    def _entry(self, name: str) -> Entry | None:
        if not names.is_message(name):
            return None
        try:
            status = os.lstat(self.places.messages / name)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Entry(status.st_mtime_ns, name, status.st_ctime_ns)

    def _refuses_all(self, error: OSError) -> bool:
        """Tell directories that we may not change from one file that is not for us."""
        own = (self.places.messages, self.places.claims, self.places.beats)
        return not isinstance(error, PermissionError) or not all(
            os.access(folder, os.W_OK | os.X_OK) for folder in own
        )

    def _set_aside(self, name: str, reason: str) -> None:
        entry = self._entry(name)
        if entry is None:
            return
        self.index.set_aside(name, entry.ctime)
        log.warning(
            "a message file cannot be taken and is left alone until it changes",
            queue=self.places.queue,
            path=str(self.places.messages / name),
            reason=reason,
        )
