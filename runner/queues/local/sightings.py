"""When is a claim expired? Decided by the observer's own clock from what it saw. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Beat(NamedTuple):
    """The last sign of life of a claim's holder."""

    #: Changes with every beat; empty when the holder never beat. Its meaning is nobody's business.
    value: bytes
    #: Seconds for which one beat keeps the claim.
    lease: float


@dataclass(slots=True)
class _Sighting:
    value: bytes
    #: Seconds of watching during which the value did not change.
    unchanged: float = 0.0


class Sightings:
    """What one observer saw of all claims.

    Clocks of different hosts are never compared, and neither is a file's time with ours. A look
    that comes late counts for no more than ``step`` (1.5 intervals): an observer that was itself
    frozen together with a holder gives that holder time to beat again.
    """

    def __init__(self, interval: float) -> None:
        self._step = 1.5 * interval
        self._last: float | None = None
        self._seen: dict[str, _Sighting] = {}

    def expired(self, now: float, beats: Mapping[str, Beat]) -> list[str]:
        """Take one look at monotonic time ``now`` and return the claims that have expired."""
        watched = 0.0 if self._last is None else min(now - self._last, self._step)
        self._last = now
        seen: dict[str, _Sighting] = {}
        over: list[str] = []
        for claim, beat in beats.items():
            before = self._seen.get(claim)
            if before is None or before.value != beat.value:
                seen[claim] = _Sighting(beat.value)
                continue
            before.unchanged += watched
            seen[claim] = before
            if before.unchanged >= beat.lease:
                over.append(claim)
        self._seen = seen
        return over
