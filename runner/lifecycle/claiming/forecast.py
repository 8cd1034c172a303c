"""When cards are expected back: what is known of how long experiments of a queue keep theirs. Pure.

Nothing is known of a new queue, and of one whose experiment has outlasted those before it: then
cards may be back at any moment.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

_REMEMBERED = 20
#: One alone says little of the next.
_ENOUGH = 2


@dataclass(frozen=True, slots=True)
class _Held(Generic[S]):
    queue: S
    since: float
    #: Seconds after which it is ended at the latest.
    at_most: float


@dataclass(eq=False)
class Forecast(Generic[S]):
    """Learns from each share with cards that comes back. Shares are known by a number."""

    _held: dict[int, _Held[S]] = field(default_factory=dict)
    _seconds: dict[S, deque[float]] = field(default_factory=dict)

    def begin(self, share: int, queue: S, now: float, at_most: float = float("inf")) -> None:
        """An experiment of the queue has its cards."""
        self._held[share] = _Held(queue, now, at_most)

    def end(self, share: int, now: float) -> None:
        """They are back; a share that is not known is none of ours."""
        held = self._held.pop(share, None)
        if held is not None:
            seconds = self._seconds.setdefault(held.queue, deque(maxlen=_REMEMBERED))
            seconds.append(now - held.since)

    def typical(self, queue: S) -> float:
        """Return the seconds that most experiments of the queue take; 0 when nobody knows."""
        seconds = self._seconds.get(queue, ())
        return statistics.median(seconds) if len(seconds) >= _ENOUGH else 0.0

    def left(self, share: int, now: float) -> float:
        """Return the seconds until the share is expected back; 0: at any moment."""
        held = self._held.get(share)
        if held is None:
            return 0.0
        passed = now - held.since
        return max(0.0, min(self.typical(held.queue), held.at_most) - passed)
