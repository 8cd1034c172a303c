"""Is a card given out, and if not, why: pure, from what it says and what was seen of it before."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from datetime import timedelta

from runner.lifecycle.gpus import xids as gpu_xids
from runner.lifecycle.gpus.xids import Blame
from runner.model import Bytes, Gpu
from runner.request.units import format_duration, format_size
from runner.resources.base import GpuInventory, GpuReading

#: Seconds after a run in which what is left on its card is believed to be its own.
RETURN = 60.0
#: Seconds: a card is kept back twice as long each time, up to this; so long without a fault makes
#: the next one the first.
LONGEST, FORGIVEN = 86400.0, 86400.0
_NEVER = -math.inf


class Kind(enum.StrEnum):
    """Why a card is withheld, in a word. Values are stable: metrics have them."""

    #: The driver does not answer at all.
    DRIVER = "driver"
    LOST = "lost"
    #: A bad part of its memory waits for a reset, or cannot be replaced.
    REPAIR = "repair"
    ECC = "ecc"
    #: A hardware Xid, not long ago.
    XID = "xid"
    #: A run has ended on it, and its memory is not back.
    RETURNING = "returning"
    #: Others use its memory.
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Withheld:
    """A card is not given out."""

    kind: Kind
    #: Of the card, in a sentence that says how it ends.
    why: str


@dataclass(frozen=True, slots=True)
class Past:
    """What was seen of one card. Times are seconds of our clock."""

    #: The hardware Xid that it is kept back for; 0: none.
    xid: int = 0
    #: Until when, if it shows no fault until then.
    until: float = _NEVER
    #: How often in a row it was kept back.
    times: int = 0
    #: When a hardware Xid was seen, or it was still kept back for one.
    faulted: float = _NEVER
    #: When the last run on it ended, as long as that is waited for.
    returning: float | None = None
    #: Who used it when it was given to that run; the processes' ids, whatever they mean here.
    users: frozenset[int] = frozenset()

    def left(self, now: float) -> Past:
        """Return it for a card whose run has ended just now."""
        return replace(self, returning=now)


UNKNOWN = Withheld(Kind.LOST, "the driver does not know it any more")
#: From the end of a run until a look has seen its card free.
RETURNING = Withheld(Kind.RETURNING, "the memory of its last experiment is not back yet")


def judge(
    card: Gpu, reading: GpuReading, past: Past, *, held: bool, noise: Bytes, now: float
) -> tuple[Past, Withheld | None]:
    """Return what to remember, and why the card is withheld; ``now`` is when it was looked at.

    Whose memory is in use is judged by the ledger, never by a process's id: in a container those
    are the host's. So a card that is ``held`` is in nobody else's use.
    """
    past = _kept_back(past, reading, now)
    past = replace(past, returning=None) if held else _returned(card, reading, past, noise, now)
    withheld = _broken(reading) or _quarantine(past)
    if withheld is None and not held:
        withheld = _in_use(card, reading, past, noise)
        if past.returning is None:
            past = replace(past, users=_users(reading))
    return past, withheld


def silence(inventory: GpuInventory) -> Withheld | None:
    """Return why no card is given out at all: the driver does not answer, or for none of them."""
    if not inventory.readings:
        return _no_driver(inventory.why_none or "the driver knows of no card")
    cards = {gpu.parent or gpu.uuid for gpu in inventory.gpus}
    whys = {one.lost for one in inventory.readings.values()}
    why = whys.pop()
    if why and not whys and len(cards) > 1:  # they do not all fall off the bus at once
        return _no_driver(why)
    return None


def _no_driver(why: str) -> Withheld:
    return Withheld(Kind.DRIVER, f"no card answers: {why}")


def in_use(card: Gpu, reading: GpuReading) -> Bytes:
    """Return the memory that is in use, but for what is used to draw."""
    if card.parent:  # the processes are those of the whole card
        return reading.used
    drawn = sum(process.memory for process in reading.processes if process.draws)
    return Bytes(max(0, reading.used - drawn))


def _kept_back(past: Past, reading: GpuReading, now: float) -> Past:
    faults = [xid for xid in reading.xids if gpu_xids.blame(xid) is Blame.CARD]
    if faults:
        # Faults seldom come alone: what happens to a card that is kept back is the same story.
        is_first = now - past.faulted > FORGIVEN
        times = past.times if past.xid else (1 if is_first else past.times + 1)
        past = replace(past, xid=faults[-1], times=times)
    elif past.xid and not _broken(reading):
        if now < past.until:
            return past
        return replace(past, xid=0, faulted=now)
    if not past.xid:
        return past
    return replace(past, until=now + _seconds(past), faulted=now)


def _seconds(past: Past) -> float:
    first = gpu_xids.kept_back(past.xid).total_seconds()
    return float(min(LONGEST, first * (1 << min(past.times - 1, 16))))


def _returned(card: Gpu, reading: GpuReading, past: Past, noise: Bytes, now: float) -> Past:
    if past.returning is None:
        return past
    lingering = frozenset() if card.parent else _users(reading) - past.users
    is_back = in_use(card, reading) <= noise and not lingering and now >= past.returning
    is_late = now - past.returning > RETURN
    return replace(past, returning=None) if is_back or is_late else past


def _users(reading: GpuReading) -> frozenset[int]:
    return frozenset(process.pid for process in reading.processes if not process.draws)


def _broken(reading: GpuReading) -> Withheld | None:
    if reading.lost:
        return Withheld(Kind.LOST, f"it does not answer: {reading.lost}")
    if reading.repair_failed:
        why = "a bad part of its memory cannot be replaced any more: exchange the card"
        return Withheld(Kind.REPAIR, why)
    if reading.repair_pending:
        why = "a bad part of its memory is replaced at the next reset: reset the card"
        return Withheld(Kind.REPAIR, why)
    if reading.ecc_errors:
        count = reading.ecc_errors
        errors = "an error" if count == 1 else f"{count} errors"
        why = f"its memory had {errors} that could not be corrected: reset the card"
        return Withheld(Kind.ECC, why)
    return None


def _quarantine(past: Past) -> Withheld | None:
    if not past.xid:
        return None
    patience = format_duration(timedelta(seconds=_seconds(past)))
    why = (
        f"the driver reported {gpu_xids.described(past.xid)}; "
        f"it is given out again after {patience} without a fault"
    )
    return Withheld(Kind.XID, why)


def _in_use(card: Gpu, reading: GpuReading, past: Past, noise: Bytes) -> Withheld | None:
    if past.returning is not None:
        return RETURNING
    used = in_use(card, reading)
    if used > noise:
        size = format_size(used)
        why = f"{size} of its memory are in use, and no experiment of this daemon has it"
        return Withheld(Kind.FOREIGN, why)
    return None
