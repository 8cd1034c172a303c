"""For how long each queue has waited for room without getting any. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from runner.model import Needs
from runner.request.units import format_size

S = TypeVar("S", bound=Hashable)

#: Seconds after which an operator is told.
LONG = 3600.0


class Want(Generic[S]):
    """Begins when a queue asks for a turn, and ends when it gets room or turns out to be empty.

    A message in hand that does not fit does not end it, nor does its going back to the queue.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[S, float] = {}

    def begin(self, queue: S) -> None:
        """It asks; how long it has asked already is kept."""
        self._since.setdefault(queue, self._clock())

    def end(self, queue: S) -> None:
        """It has got room, has nothing to put there, or is not followed any more."""
        self._since.pop(queue, None)

    def begin_anew(self, *queues: S) -> None:
        """Count these from now on, or all: until now it was not for want of room."""
        now = self._clock()
        self._since.update((queue, now) for queue in queues or self._since if queue in self._since)

    def longer_than(self, seconds: float) -> tuple[S, ...]:
        """Return the queues that have waited for so long."""
        latest = self._clock() - seconds
        return tuple(queue for queue, since in self._since.items() if since <= latest)


def described(needs: Needs) -> str:
    """Say what is needed, for people: ``4 cores, 8 GB of memory, 1 GPU``."""
    parts = [f"{needs.cores} core{'s' * (needs.cores != 1)}"]
    parts += [f"{format_size(needs.memory)} of memory"] * bool(needs.memory)
    parts += [f"{format_size(needs.disk)} of disk"] * bool(needs.disk)
    parts += [f"{needs.gpu_count} GPU{'s' * (needs.gpu_count != 1)}"] * bool(needs.gpu_count)
    return ", ".join(parts)
