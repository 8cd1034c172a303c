"""Days on four cards in a moment: no card idles for a download, and nobody starves."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import anyio
import pytest

from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.seats import Seat
from runner.lifecycle.gpus.choice import choose_gpus
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.ledger import Ledger
from tests.lifecycle.simulation import HOUR, MINUTE, Paper, simulated

ONE = Needs(gpu_count=1)
DOWNLOAD = 5 * MINUTE


@dataclass
class Cards:
    """A machine with cards, on which every experiment has a long download."""

    staged: int = 1
    cards: int = 4
    #: When each experiment that needs so many cards began and ended.
    ran: list[tuple[int, float, float]] = field(default_factory=list)
    returned: int = 0

    def __post_init__(self) -> None:
        gpus = tuple(Gpu(f"GPU-{n}", "NVIDIA L4", Bytes(1 << 30)) for n in range(self.cards))
        self.ledger = Ledger(Capacity(64, Bytes(1 << 40), Bytes(1 << 40), gpus), choose_gpus)
        self.intake = Intake(self.ledger, rules=Rules(staged=self.staged), clock=anyio.current_time)

    async def experiment(self, seat: Seat, needs: Needs, seconds: float) -> None:
        """See one through, as often as it has to go back."""
        while (share := await self._claimed(seat, needs)) is None or not (
            share := await self._equipped(share)
        ):
            self.returned += 1
            await anyio.sleep(30)
        begun = anyio.current_time()
        await anyio.sleep(seconds)
        self.ran.append((needs.gpu_count, begun, anyio.current_time()))
        self.intake.release(share)

    async def _claimed(self, seat: Seat, needs: Needs) -> Allocation | None:
        slot = self.intake.found(await self.intake.turn(seat, needs, anyio.current_time() + 30))
        share = slot.grow(needs)
        if share is None:
            with anyio.move_on_after(HOUR):
                share = await slot.reserved(needs)
        return share

    async def _equipped(self, share: Allocation) -> Allocation | None:
        line = self.intake.line
        place = line.place(share)
        if place is None:
            await anyio.sleep(DOWNLOAD)
            return share
        with place.recallable():
            await anyio.sleep(DOWNLOAD)
            line.be_ready(place)
            await line.wait(place)
        if place.equipped.is_set():
            return place.allocation
        line.leave(place)
        self.intake.release(place.allocation)
        return None

    async def queue(self, name: str, needs: Needs, seconds: float) -> None:
        """Run one after the other."""
        seat = self.intake.seat(Paper(name, tells=True))
        while True:
            await self.experiment(seat, needs, seconds)


@pytest.mark.parametrize("runs", [10 * MINUTE, 4 * HOUR])
def test_a_card_does_not_wait_for_downloads(runs: float) -> None:
    """The next one is ready; of long ones the first are given back, until that is known."""
    machine = Cards(cards=1)

    async def story() -> None:
        with anyio.move_on_after(20 * runs):
            async with anyio.create_task_group() as group:
                group.start_soon(machine.intake.keep_looking)
                for number in range(3):
                    group.start_soon(machine.queue, f"q{number}", ONE, runs)

    simulated(story)
    gaps = [after[1] - before[2] for before, after in pairwise(machine.ran)]
    assert len(gaps) > 15
    assert max(gaps[8:]) < 1


@pytest.mark.parametrize("runs", [10 * MINUTE, HOUR, 4 * HOUR])
def test_one_that_needs_all_cards_is_not_passed_for_ever(runs: float) -> None:
    """Cards that come back one by one are kept for it, once it is its turn."""
    machine = Cards()
    arrival = 2 * HOUR

    async def story() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(machine.intake.keep_looking)
            for number in range(8):
                group.start_soon(machine.queue, f"q{number}", ONE, runs)
                await anyio.sleep(arrival / 8)
            seat = machine.intake.seat(Paper("big", tells=True))
            with anyio.fail_after(5 * runs + 10 * HOUR):
                await machine.experiment(seat, Needs(gpu_count=4), HOUR)
            group.cancel_scope.cancel()

    simulated(story)
    begun = next(begun for cards, begun, _ in machine.ran if cards == 4)
    assert begun - arrival < 2 * runs + HOUR
