"""The seam to where traces go: spans as plain values, and what delivers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner.request.trace import TraceContext

Attributes = Mapping[str, str | int]


class Undelivered(Exception):
    """The spans did not arrive; they may when they are sent again."""


class Refused(Undelivered):
    """They never will: it is these spans that are not taken, or whoever sends them."""


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """Something that took some time, and is over. Nothing in it is secret."""

    name: str
    context: TraceContext
    #: The span around it; 0: it is the outermost of its trace.
    parent: int
    #: Seconds since the epoch.
    started: float
    ended: float
    attributes: Attributes = field(default_factory=dict)
    #: What went wrong, in a sentence; ``None``: nothing did.
    error: str | None = None
    #: It is one message's way through this machine, not a part of that.
    is_whole: bool = False


class Exporter(ABC):
    """Delivers spans; made and used in a thread that may take its time, one call at a time."""

    @abstractmethod
    def export(self, spans: Sequence[TraceSpan]) -> None:
        """Send them. Raises Undelivered, Refused."""
