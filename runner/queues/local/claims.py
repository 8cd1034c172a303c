"""What can be done with one message file: claim it, keep it, give it back, forget it.

Every function is a few file operations, safe against any other process that does the same: what
decides is one atomic rename or unlink of the claim's file, and no two claims share a name.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from runner.errors import LeaseLost
from runner.queues.local import beats, counts, delays, letters, names
from runner.queues.local.beats import Holder
from runner.queues.local.places import Places, free_name

#: No broker carries as much. A longer file is nobody's request, and must not fill our memory.
LONGEST_BODY = 32 << 20


class NotAMessage(Exception):
    """What was claimed is no readable regular file."""


class Stamp(NamedTuple):
    """Changes while somebody still writes the file."""

    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A message file that was renamed to be ours."""

    places: Places
    #: The file's name among the claims.
    token: str

    @property
    def name(self) -> str:
        """The message's name."""
        return names.message_of(self.token)

    @property
    def path(self) -> Path:
        """Where the message lies while it is held."""
        return self.places.claims / self.token


def take(places: Places, name: str, holder: Holder) -> Claim | None:
    """Claim the waiting message; ``None`` when somebody else was faster."""
    source = places.messages / name
    claim = Claim(places, names.claim_of(name))
    try:
        source.rename(claim.path)
    except FileNotFoundError:
        if not os.path.lexists(source):
            return None
        places.prepare()  # the message is there, so it is our directory that is missing
        return take(places, name, holder)
    try:
        beats.write(places, claim.token, holder)
    except OSError:  # the disk is full, say
        give_back(claim)
        raise
    return claim


def read(claim: Claim) -> tuple[bytes, Stamp]:
    """Return the claimed message as far as it is written, or its first ``LONGEST_BODY`` bytes.

    Raises LeaseLost, NotAMessage.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(claim.path, flags)
    except FileNotFoundError:
        raise _lost(claim) from None
    except OSError as error:
        raise NotAMessage(error.strerror or str(error)) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotAMessage("it is no regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(LONGEST_BODY), Stamp(status.st_size, status.st_mtime_ns)
    finally:
        os.close(handle)


def keep(claim: Claim, holder: Holder) -> None:
    """Beat once more. Raises LeaseLost when the claim was taken away."""
    beats.write(claim.places, claim.token, holder)
    if not _exists(claim):
        beats.forget(claim.places, claim.token)
        raise _lost(claim)


def forget(claim: Claim) -> None:
    """Delete the message. Raises LeaseLost."""
    try:
        claim.path.unlink()
    except FileNotFoundError:
        raise _lost(claim) from None
    beats.forget(claim.places, claim.token)
    counts.write(claim.places, claim.name, 0)


def give_back(claim: Claim) -> None:
    """Put the message back at its place in the queue. Raises LeaseLost.

    A deleted queue is not created again: deleting it is how StudioML's users abort its waiting
    work. The message goes to the dead letters, so that nothing is lost by it either.
    """
    places = claim.places
    try:
        claim.path.rename(places.messages / free_name(places.messages, claim.name))
    except FileNotFoundError:
        if places.messages.is_dir():
            raise _lost(claim) from None
        _to_the_dead(claim, letters.aborted(claim.name, counts.read(places, claim.name)))
    beats.forget(places, claim.token)


def hide(claim: Claim, delay: timedelta) -> None:
    """Give the message back so that nobody sees it before ``delay`` is over. Raises LeaseLost."""
    try:
        delays.put(claim.places, claim.path, claim.name, delay)
    except FileNotFoundError:
        raise _lost(claim) from None
    beats.forget(claim.places, claim.token)


def bury(claim: Claim, reason: str) -> None:
    """Move the message to the dead letters. Raises LeaseLost."""
    times = counts.read(claim.places, claim.name)
    _to_the_dead(claim, letters.written_now(claim.name, reason, times))
    beats.forget(claim.places, claim.token)


def _to_the_dead(claim: Claim, letter: letters.Letter) -> None:
    try:
        letters.put(claim.places, claim.path, letter)
    except FileNotFoundError:
        raise _lost(claim) from None
    counts.write(claim.places, claim.name, 0)


def _exists(claim: Claim) -> bool:
    # Opened, not only looked at: that is what makes an NFS client ask its server.
    try:
        os.close(os.open(claim.path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return False
    return True


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(
        f"message {claim.name} of queue {claim.places.queue} is no longer ours: "
        "its claim was taken away after a lease without a beat"
    )
