"""What the driver's Xids mean, who is to blame, and how long a card is kept back for one.

After NVIDIA's catalogue of Xids. What is not in this table blames nobody: the driver of tomorrow
knows more of them than we do, and a card that is really broken shows it by its counters as well.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


class Blame(enum.Enum):
    """Who has to change something."""

    #: What ran on the card; the card is as good as before.
    EXPERIMENT = "experiment"
    #: The card, its place in the machine, or the part of the driver that runs on it.
    CARD = "card"
    #: It helped itself, or nobody knows; what else the card says of itself decides.
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Xid:
    """One kind of event."""

    #: Completes "Xid 31: …".
    meaning: str
    blame: Blame
    #: How long a card has to answer without a fault before it is given out again, the first time.
    kept_back: timedelta = timedelta(0)


#: The card says by its counters, or by not answering, whether that is mended: they decide, and
#: this is only for them to be up to date.
_SHOWN = timedelta(minutes=1)
#: Only a reset mends it, and no counter tells of one: the card is tried again after this.
_UNSEEN = timedelta(minutes=10)

_E, _C, _N = Blame.EXPERIMENT, Blame.CARD, Blame.NOBODY

XIDS: Mapping[int, Xid] = {
    13: Xid("an exception in a kernel, as of an index out of bounds", _E),
    31: Xid("an access to memory that is not there", _E),
    43: Xid("a program on it stopped after an error of its own", _E),
    45: Xid("work on it was removed, since its program ended or had failed", _E),
    46: Xid("it stopped working and needs a reset", _C, _UNSEEN),
    48: Xid("two bits of its memory were wrong, which cannot be corrected", _C, _SHOWN),
    54: Xid("its additional power is not connected", _C, _UNSEEN),
    61: Xid("its power controller stopped at an error", _C, _UNSEEN),
    62: Xid("its power controller halted", _C, _UNSEEN),
    63: Xid("a bad part of its memory was marked for replacement", _N),
    64: Xid("a bad part of its memory could not be marked for replacement", _C, _SHOWN),
    68: Xid("an exception in the video decoder", _E),
    74: Xid("an error of an NVLink connection", _C, _UNSEEN),
    79: Xid("it has fallen off the bus", _C, _SHOWN),
    92: Xid("many single bits of its memory were wrong, and corrected", _N),
    94: Xid("an error of its memory that could not be corrected hit one program", _C, _SHOWN),
    95: Xid("an error of its memory that could not be corrected hit every program", _C, _SHOWN),
    109: Xid("it could not be taken from one program and given to another in time", _E),
    110: Xid("a security fault", _C, _UNSEEN),
    119: Xid("its system processor did not answer the driver", _C, _UNSEEN),
    120: Xid("its system processor failed", _C, _UNSEEN),
    121: Xid("an error of its connection to the processor, which was corrected", _N),
    140: Xid("an error of its memory that was not corrected", _C, _SHOWN),
    143: Xid("it could not be initialised", _C, _UNSEEN),
}
_UNKNOWN = Xid("which this runner does not know", Blame.NOBODY)


def blame(xid: int) -> Blame:
    """Return who is to blame for an Xid."""
    return XIDS.get(xid, _UNKNOWN).blame


def kept_back(xid: int) -> timedelta:
    """Return how long a card is kept back for it the first time."""
    return XIDS.get(xid, _UNKNOWN).kept_back


def described(xid: int) -> str:
    """Return it with its meaning: ``Xid 31, an access to memory that is not there``."""
    return f"Xid {xid}, {XIDS.get(xid, _UNKNOWN).meaning}"
