"""How queues share a machine, over hours: the promises of docs/scheduling.md, played through."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import anyio
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from runner.lifecycle.claiming.rules import Rules
from runner.model import Needs
from runner.settings.hours import Hours, window
from tests.lifecycle.simulation import HOUR, MINUTE, Paper, Runner, Work, simulated

BOTH = pytest.mark.parametrize("tells", [False, True], ids=["polled", "told"])


def later(
    seconds: float, act: Callable[[], None], then: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """Return the story ``then`` in which ``act`` happens after a while."""

    async def wait() -> None:
        await anyio.sleep(seconds)
        act()

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await then()
            group.cancel_scope.cancel()

    return both


@BOTH
def test_a_thousand_short_ones_and_ten_long_ones_have_half_each(*, tells: bool) -> None:
    """Time counts, not turns: while both wait, each queue has the machine for half of it."""

    async def story() -> None:
        short, long = Paper("short", tells=tells), Paper("long", tells=tells)
        short.send(*[Work(MINUTE)] * 1000)
        long.send(*[Work(HOUR)] * 10)
        runner = Runner()
        await runner.serve(short, long, seconds=16 * HOUR)
        assert 7 <= runner.hours("short") <= 9
        assert 7 <= runner.hours("long") <= 9
        assert runner.hours("short") + runner.hours("long") > 15.7

    simulated(story)


@BOTH
def test_projects_share_first_then_their_queues(*, tells: bool) -> None:
    """Five queues of one project have together what the one queue of another has."""

    async def story() -> None:
        many = [Paper(f"a{n}", "a", tells=tells) for n in range(5)]
        one = Paper("b0", "b", tells=tells)
        for queue in [*many, one]:
            queue.send(*[Work(5 * MINUTE)] * 500)
        runner = Runner(cores=2)
        await runner.serve(*many, one, seconds=20 * HOUR)
        shares = [runner.hours(queue.name) for queue in many]
        assert 18 <= runner.hours("b0") <= 22
        assert 18 <= sum(shares) <= 22
        assert max(shares) - min(shares) < 0.5

    simulated(story)


def test_idling_saves_nothing_up_and_having_been_alone_costs_nothing() -> None:
    """A queue that comes after ten hours shares from then on, no more and no less."""

    async def story() -> None:
        busy, late = Paper("busy", "a"), Paper("late", "b")
        busy.send(*[Work(5 * MINUTE)] * 500)
        runner = Runner()
        await later(
            10 * HOUR,
            lambda: late.send(*[Work(5 * MINUTE)] * 500),
            lambda: runner.serve(busy, late, seconds=14 * HOUR),
        )()
        assert 1.8 <= runner.hours("late") <= 2.2
        assert 11.8 <= runner.hours("busy") <= 12.2

    simulated(story)


def test_the_more_important_queue_goes_first_while_anything_waits_there() -> None:
    """Then the others have their turn; what came to it meanwhile waits for one experiment."""

    async def story() -> None:
        urgent, usual = Paper("urgent"), Paper("usual")
        usual.send(*[Work(MINUTE)] * 200)
        urgent.send(*[Work(MINUTE)] * 30)
        runner = Runner(rules=Rules(priorities=((re.compile("^urgent"), 10),)))
        await later(
            50.5 * MINUTE,
            lambda: urgent.send(*[Work(MINUTE, sent_at=50.5 * MINUTE)] * 5),
            lambda: runner.serve(urgent, usual, seconds=2 * HOUR),
        )()
        order = [ran.queue for ran in runner.ran]
        assert "usual" not in order[1:30]
        assert order.count("urgent") == 35
        assert min(runner.waits("urgent")[-5:]) < MINUTE + 3
        assert max(runner.waits("urgent")[-5:]) < 5 * MINUTE + 10

    simulated(story)


def test_nothing_is_claimed_outside_the_active_hours() -> None:
    """What was claimed before runs on over the edge."""

    async def story() -> None:
        hours = Hours((window("19:00-07:00"),), UTC)
        begin = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
        queue = Paper("q")
        queue.send(*[Work(45 * MINUTE)] * 100)
        rules = Rules(is_open_at=hours.are_open_at, hours=str(hours))
        runner = Runner(rules=rules, wall=begin)
        await runner.serve(queue, seconds=48 * HOUR)
        begun = [datetime.fromtimestamp(begin + ran.begun, UTC) for ran in runner.ran]
        assert all(moment.hour >= 19 or moment.hour < 7 for moment in begun)
        assert {moment.date().day for moment in begun} == {2, 3, 4}
        assert any(datetime.fromtimestamp(begin + ran.ended, UTC).hour == 7 for ran in runner.ran)

    simulated(story)


def test_a_big_experiment_is_not_starved_by_small_ones() -> None:
    """It is passed for a minute; then nobody passes it, and it starts when the last has ended."""

    async def story() -> None:
        small, big = Paper("small", "a"), Paper("big", "b")
        small.send(*[Work(10 * MINUTE)] * 500)
        big.send(Work(HOUR, Needs(cores=4)))
        runner = Runner(cores=4)
        await runner.serve(small, big, seconds=4 * HOUR)
        assert [ran.queue for ran in runner.ran].count("big") == 1
        assert max(runner.waits("big")) < 15 * MINUTE
        assert runner.returned["big"] <= 1

    simulated(story)


def test_receive_counts_do_not_run_up_on_a_full_machine() -> None:
    """Hours of a full machine cost a waiting message one receive, or two in bad luck."""

    async def story() -> None:
        busy = Paper("busy", "a")
        busy.send(*[Work(HOUR)] * 10)
        quiet = [Paper(f"q{n}", "b") for n in range(50)]
        runner = Runner()

        def send() -> None:
            for queue in quiet:
                queue.send(Work(MINUTE))

        await later(10 * MINUTE, send, lambda: runner.serve(busy, *quiet, seconds=8 * HOUR))()
        mine = [ran for ran in runner.ran if ran.queue != "busy"]
        assert len(mine) == 50
        assert max(ran.work.receives for ran in mine) <= 2
        assert sum(ran.work.receives for ran in mine) <= 60
        assert busy.looks < 20

    simulated(story)


def test_one_slot_finds_the_only_message_in_two_hundred_queues_at_the_start() -> None:
    """Nothing is known yet: a few are looked at together, then twice as many, and so on."""

    async def story() -> None:
        queues = [Paper(f"q{n:03}") for n in range(200)]
        queues[-1].send(Work(MINUTE))
        runner = Runner()
        await runner.serve(*queues, seconds=2 * MINUTE)
        assert max(runner.waits("q199")) < 10

    simulated(story)


def test_one_slot_finds_a_new_message_in_two_hundred_queues_at_once() -> None:
    """All of them are watched while the slot is free, at a look every twenty seconds each."""

    async def story() -> None:
        queues = [Paper(f"q{n:03}") for n in range(200)]
        runner = Runner()
        await later(
            607,
            lambda: queues[-1].send(Work(MINUTE, sent_at=607)),
            lambda: runner.serve(*queues, seconds=1200),
        )()
        assert max(runner.waits("q199")) < 0.5
        assert sum(queue.looks for queue in queues) / 1200 < 10.5

    simulated(story)


def test_a_queue_thought_empty_is_heard_on_a_busy_machine() -> None:
    """Beside ten thousand of a second it waits for a round, and they lose little by it."""

    async def story() -> None:
        busy = Paper("busy", "a")
        busy.send(*[Work(1)] * 10_000)
        quiet = [Paper(f"q{n:03}", "b") for n in range(200)]
        runner = Runner()
        await later(
            605,
            lambda: quiet[-1].send(Work(MINUTE, sent_at=605)),
            lambda: runner.serve(busy, *quiet, seconds=1200),
        )()
        assert max(runner.waits("q199")) < 75
        assert runner.hours("busy") > 0.9 * (1200 - MINUTE) / HOUR

    simulated(story)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_run_than_the_operator_allows(most: int) -> None:
    """``--max-experiments`` counts experiments, whatever room there is."""

    async def story() -> None:
        queues = [Paper(f"q{n}") for n in range(5)]
        for queue in queues:
            queue.send(*[Work(MINUTE)] * 20)
        runner = Runner(cores=8, rules=Rules(at_most=most))
        await runner.serve(*queues, seconds=3 * HOUR)
        assert runner.peak == most
        assert len(runner.ran) == 100

    simulated(story)


def test_the_same_day_is_played_the_same_way_twice() -> None:
    """Nothing is left to chance: whoever asks why can be told."""
    days: list[list[tuple[str, float]]] = []

    async def story() -> None:
        queues = [Paper(f"q{n}", f"p{n % 2}") for n in range(7)]
        for number, queue in enumerate(queues):
            queue.send(*[Work(30.0 + number)] * 40)
        runner = Runner(cores=3)
        await runner.serve(*queues, seconds=2 * HOUR)
        days.append([(ran.queue, ran.begun) for ran in runner.ran])

    simulated(story)
    simulated(story)
    assert days[0] == days[1]


_WORK = st.builds(
    Work, st.floats(0.05, 3 * HOUR), st.builds(Needs, st.sampled_from([1, 1, 1, 2, 3]))
)
_QUEUES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.lists(_WORK, max_size=8)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(kinds=_QUEUES, cores=st.integers(3, 5), at_most=st.integers(0, 4), is_urgent=st.booleans())
def test_everything_runs_in_the_end(
    kinds: list[tuple[bool, int, list[Work]]], cores: int, at_most: int, *, is_urgent: bool
) -> None:
    """Whatever is mixed: nothing is lost, nobody waits for ever, and never do more run than may."""

    async def story() -> None:
        queues = [
            Paper(f"q{n}", f"p{project}", tells=tells)
            for n, (tells, project, _) in enumerate(kinds)
        ]
        for queue, (_, _, works) in zip(queues, kinds, strict=True):
            queue.send(*works)
        priorities = ((re.compile("^q0"), 1),) if is_urgent else ()
        runner = Runner(cores=cores, rules=Rules(priorities=priorities, at_most=at_most))
        count = sum(len(works) for _, _, works in kinds)
        if count:
            await runner.serve(*queues, seconds=60 * 24 * HOUR, runs=count)
        assert len(runner.ran) == count
        assert runner.peak <= (at_most or cores)
        assert runner.ledger.held == 0

    simulated(story)
