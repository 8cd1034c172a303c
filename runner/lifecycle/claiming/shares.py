"""What each project and each queue has had of the machine, and who is owed the next turn. Pure.

Start-time fair queueing: an account grows by *machine seconds*, the largest share that an
experiment has of anything times how long it has it, and the smallest account is served first.
Whoever comes back from idling starts where the others are: nobody saves up turns by waiting.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from runner.model import Allocation, Capacity

#: What an experiment counts for at least: turns of very short ones alternate strictly.
LEAST_SECONDS = 5.0
#: The most that anybody can be behind who asks and is not served, in machine seconds: what is too
#: big for now, say. After it has its turn it does not have the machine for a day.
LONGEST_CREDIT = 3600.0
#: Between one turn and the next question of the same queue there is a moment of silence.
SILENCE = 60.0


def share_of(allocation: Allocation, total: Capacity) -> float:
    """Return how much of the machine an allocation is, by whatever it has most of."""
    return max(
        allocation.cores / max(1, total.cores),
        allocation.memory / max(1, total.memory),
        _share_of_cards(allocation, total) / max(1, len(total.gpus)),
    )


def _share_of_cards(allocation: Allocation, total: Capacity) -> float:
    """Return how many cards an allocation is; of a shared one what it has most of."""
    if not allocation.gpu_group:
        return len(allocation.gpus)
    there = {gpu.uuid: gpu for gpu in total.gpus}
    return sum(
        max(
            allocation.gpu_slots / max(1, there[uuid].slots),
            allocation.gpu_memory / max(1, there[uuid].memory),
        )
        for uuid in allocation.gpus
        if uuid in there
    )


@dataclass(eq=False, slots=True)
class Account:
    """Machine seconds of one project, or of one queue."""

    #: Of what has ended, and what was given up by idling.
    settled: float = 0.0
    #: How many of its questions for a turn wait, having work.
    waiting: int = 0
    #: When it last asked, having work; far ago: never.
    asked_at: float = float("-inf")
    _running: dict[int, tuple[float, float]] = field(default_factory=dict)

    def used(self, now: float) -> float:
        """Return what it has had, what runs included."""
        if not self._running:
            return self.settled
        return self.settled + sum(_cost(*run, now) for run in self._running.values())

    def begin(self, run: int, share: float, now: float) -> None:
        """Count from now on; ``run`` is any name of the share."""
        self._running[run] = (share, now)

    def end(self, run: int, now: float) -> None:
        """Count no longer."""
        begun = self._running.pop(run, None)
        if begun is not None:
            self.settled += _cost(*begun, now)

    def is_in_demand(self, now: float) -> bool:
        """Tell whether it has work as far as anybody knows."""
        return self.waiting > 0 or now - self.asked_at <= SILENCE

    def raise_to(self, level: float, now: float) -> None:
        """Give up what was not used: it comes back from idling."""
        self.settled += max(0.0, level - self.used(now))


def level(accounts: Collection[Account], now: float) -> float:
    """Return the place from which a newcomer starts: where the least of those in demand is.

    But not more than the credit below the largest. Where nobody is in demand all start alike.
    """
    used = [account.used(now) for account in accounts if account.is_in_demand(now)]
    if used:
        return max(min(used), max(used) - LONGEST_CREDIT)
    return max((account.used(now) for account in accounts), default=0.0)


def _cost(share: float, since: float, now: float) -> float:
    return share * max(LEAST_SECONDS, now - since)
