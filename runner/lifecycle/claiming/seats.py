"""What the claiming policy knows: queues, their questions, their open receives, and the room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runner.lifecycle.claiming.shares import Account
from runner.model import Needs

#: What a queue must at least find free before it is asked for a message.
LEAST = Needs(cores=1)
NEVER = float("-inf")


@dataclass(eq=False, slots=True)
class Seat:
    """One queue at the table."""

    name: str
    project: str = ""
    #: Higher is served before lower.
    priority: int = 0
    #: It asks only when it knows that there is a message.
    tells: bool = False
    #: Seconds in which an open receive brings what is there.
    glance: float = 0.5
    #: Seconds that one receive lasts at most.
    patience: float = 20.0
    account: Account = field(default_factory=Account)
    #: The last look found a message.
    was_full: bool = False
    empty_at: float = NEVER
    #: What its last message needed.
    wants: Needs | None = None
    #: Number of the last turn that found something.
    served: int = 0

    @property
    def is_sure(self) -> bool:
        """There is probably a message: it needs a slot to itself."""
        return self.tells or self.was_full


@dataclass(frozen=True, slots=True)
class Ask:
    """A queue's question for a turn."""

    seat: Seat
    number: int
    #: What its last message needed and did not get, and until when that is believed.
    needs: Needs = LEAST
    until: float = NEVER


@dataclass(eq=False, slots=True)
class Poll:
    """An open receive: at first a glance at what is there, then a watch for news."""

    seat: Seat
    #: It was opened with a slot of its own.
    is_sure: bool
    #: When the glance is over.
    until: float
    #: What the glance takes of the slots that nobody has to himself.
    weight: float
    is_glance: bool


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine could give now."""

    #: Experiments that could begin, beside what open receives have to themselves.
    slots: int
    fits: Callable[[Needs], bool] = lambda _: True
    #: The seat's receive may be opened at this hour.
    allows: Callable[[Seat], bool] = lambda _: True
