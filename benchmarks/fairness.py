"""How queues share one machine over hours, and what a decision costs.

The days are played in a moment, with the product's own intake and policy and a clock that jumps:
see ``tests/lifecycle/simulation.py``. The last lines are real time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import anyio

from runner.lifecycle.claiming.seats import LEAST, Room, Seat
from runner.lifecycle.claiming.turns import Turns
from runner.model import Needs
from tests.lifecycle.simulation import HOUR, MINUTE, Paper, Runner, Work, simulated

ROUNDS = 2000


def main() -> None:
    """Play and print."""
    print(f"{'':44} {'hours':>6} {'runs':>5} {'median wait':>12} {'worst':>9} {'receives':>9}")
    for story in (_short_and_long, _projects, _big, _full, _two_hundred):
        simulated(story)
    print()
    for asking in (1, 10, 200):
        print(f"a decision among {asking:3} asking queues   {_cost(asking):7.1f} µs")
    anyio.run(_through_the_intake)


async def _short_and_long() -> None:
    short, long = Paper("1000 of a minute"), Paper("10 of an hour")
    short.send(*[Work(MINUTE)] * 1000)
    long.send(*[Work(HOUR)] * 10)
    runner = Runner()
    await runner.serve(short, long, seconds=16 * HOUR)
    _print("one slot, 16 h", runner, [short, long])


async def _projects() -> None:
    many = [Paper(f"queue {n} of project a", "a") for n in range(5)]
    one = Paper("the queue of project b", "b")
    for queue in [*many, one]:
        queue.send(*[Work(5 * MINUTE)] * 500)
    runner = Runner(cores=2)
    await runner.serve(*many, one, seconds=10 * HOUR)
    _print("two slots, 10 h", runner, [*many, one])


async def _big() -> None:
    small, big = Paper("1 core, 4 h each", "a"), Paper("8 cores, 1 h", "b")
    small.send(*[Work(4 * HOUR)] * 500)
    big.send(Work(HOUR, Needs(cores=8)))
    runner = Runner(cores=8)
    await runner.serve(small, big, seconds=24 * HOUR)
    _print("eight cores, 24 h", runner, [small, big])


async def _full() -> None:
    busy = Paper("busy: 10 of an hour", "a")
    busy.send(*[Work(HOUR)] * 10)
    quiet = [Paper(f"q{n}", "b") for n in range(50)]
    runner = Runner()

    async def send() -> None:
        await anyio.sleep(10 * MINUTE)
        for queue in quiet:
            queue.send(Work(MINUTE, sent_at=10 * MINUTE))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await runner.serve(busy, *quiet, seconds=8 * HOUR)
    _print("one slot, 8 h", runner, [busy])
    _print("", runner, quiet, "50 queues, one message each")


async def _two_hundred() -> None:
    queues = [Paper(f"q{n}") for n in range(200)]
    queues[-1].send(Work(MINUTE))
    runner = Runner()
    await runner.serve(*queues, seconds=5 * MINUTE)
    _print("one slot, at the start", runner, queues[-1:], "1 message in 200 queues")
    looks = sum(queue.looks for queue in queues) / (5 * MINUTE)
    print(f"{'':24}{looks:.1f} receives a second")


def _print(title: str, runner: Runner, queues: Sequence[Paper], name: str = "") -> None:
    if title:
        print(title)
    for row in [list(queues)] if name else [[queue] for queue in queues]:
        names = {queue.name for queue in row}
        ran = [one for one in runner.ran if one.queue in names]
        waits = [one.begun - one.work.sent_at for one in ran] or [0.0]
        receives = max((one.work.receives for one in ran), default=0)
        hours = sum(runner.hours(each) for each in names)
        print(
            f"    {name or row[0].name:40} {hours:6.1f} {len(ran):5}"
            f" {statistics.median(waits):10.1f} s {max(waits):7.0f} s {receives:9}"
        )


def _cost(asking: int) -> float:
    """Return microseconds from asking to a turn, beside so many that wait."""
    turns = Turns()
    seats = [Seat(f"q{n}", f"p{n % 5}", tells=True) for n in range(asking)]
    for seat in seats:
        turns.ask(seat, 0.0)
    room = Room(1)
    begun = time.perf_counter()
    for number in range(ROUNDS):
        now = number * 0.01
        (seat,) = turns.choose(now, room)
        turns.found(turns.open(seat, now), now)
        turns.begin(seat, number, 0.5, now)
        turns.end(seat, number, now)
        turns.ask(seat, now)
    return (time.perf_counter() - begun) / ROUNDS * 1e6


async def _through_the_intake() -> None:
    """Print what one experiment costs from the question for a turn to its end."""
    runner = Runner(cores=2)
    seat = runner.intake.seat(Paper("q", tells=True))
    begun = time.perf_counter()
    for _ in range(ROUNDS):
        slot = runner.intake.found(await runner.intake.turn(seat))
        allocation = slot.grow(LEAST)
        assert allocation is not None
        slot.give_back()
        runner.intake.release(allocation)
    cost = (time.perf_counter() - begun) / ROUNDS * 1e6
    print(f"the intake's part of one experiment     {cost:7.1f} µs")


if __name__ == "__main__":
    main()
