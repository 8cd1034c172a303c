"""Signs of life of those who hold claims: a file beside each claim whose content changes."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import msgspec

from runner import own_files
from runner.queues.local import names
from runner.queues.local.places import Places, listed
from runner.queues.local.sightings import Beat

_PRIVATE_FILE = 0o600
#: Seconds; a claim is not kept for ever by what is no beat.
_LONGEST_LEASE = 1e7


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds claims, and for how long one beat keeps them."""

    owner: str
    lease: timedelta


@dataclass(frozen=True, slots=True)
class _Written:
    """What an observer needs of a beat."""

    lease: Annotated[float, msgspec.Meta(gt=0, le=_LONGEST_LEASE)]


def write(places: Places, token: str, holder: Holder) -> None:
    """Beat once for the claim.

    A file of our own, because the message file's times belong to whoever sent it.
    """
    beat = {
        "owner": holder.owner,
        "lease": holder.lease.total_seconds(),
        "beat": secrets.token_hex(8),
    }
    content = json.dumps(beat).encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    handle = os.open(places.beats / token, flags, _PRIVATE_FILE)
    try:
        # Written over the last beat, of the same length: that needs no space on a full disk.
        os.pwrite(handle, content, 0)
        os.ftruncate(handle, len(content))
    finally:
        os.close(handle)


def forget(places: Places, token: str) -> None:
    """Remove the beat of a claim that is over."""
    (places.beats / token).unlink(missing_ok=True)


def read_all(places: Places, own_lease: timedelta) -> dict[str, Beat]:
    """Return the last beat of every claim; a claim that never beat gets the observer's lease."""
    return {
        token: read(places, token, own_lease)
        for token in listed(places.claims)
        if names.message_of(token)
    }


def sweep(places: Places) -> None:
    """Remove beats whose claim is gone; a claim always exists before its first beat."""
    left = listed(places.beats)
    claims = frozenset(listed(places.claims))
    for token in left:
        if token not in claims:
            forget(places, token)


def read(places: Places, token: str, own_lease: timedelta) -> Beat:
    """Return the last beat of one claim."""
    try:
        value = own_files.read(places.beats / token)
    except OSError:
        return Beat(b"", own_lease.total_seconds())
    try:
        return Beat(value, own_files.parsed(value, _Written).lease)
    except ValueError:  # caught while it was being written
        return Beat(value, own_lease.total_seconds())
