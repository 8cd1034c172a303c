"""The sender of news: patient for a while, then done with it, and quiet about both."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import log
from runner.model import News, Report
from runner.redaction import Redactor
from runner.reporters.courier import Courier, Hopeless, Later, Patience
from runner.reporters.once import Once
from runner.reporters.outbox import Letter, Outbox

pytestmark = pytest.mark.anyio

SOON = Patience(news=timedelta(seconds=10), endings=timedelta(seconds=100))


class Time:
    """A clock that moves while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Pass the time, and let others work."""
        if seconds:
            self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


class Place:
    """Where news goes: fails as it is told, and remembers what arrived."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0
        self.arrived: list[str] = []

    async def deliver(self, report: Report) -> None:
        """Take a report."""
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.arrived.append(report.text)


@pytest.fixture
def logged() -> io.StringIO:
    """Return the log."""
    stream = io.StringIO()
    log.configure(level="info", form="json", redactor=Redactor(), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """Return what was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def news(text: str, kind: News = News.STARTED) -> Report:
    """Return a report."""
    return Report(kind, text)


async def sent(
    deliver: Callable[[Report], Awaitable[None]], time: Time, *reports: Report, most: int = 500
) -> None:
    """Post these, and run until all are gone."""
    courier = Courier(
        "place",
        deliver,
        patience=SOON,
        most=most,
        clock=lambda: time.now,
        sleep=time.sleep,
        chance=lambda: 0.5,
    )
    for report in reports:
        courier.post(report)
    async with anyio.create_task_group() as group:
        group.start_soon(courier.run)
        await courier.flush(20)
        group.cancel_scope.cancel()


async def test_news_arrives_in_its_order() -> None:
    """First posted, first told."""
    place = Place()
    await sent(place.deliver, Time(), *(news(str(n)) for n in range(5)))
    assert place.arrived == list("01234")


async def test_what_a_server_asks_to_wait_is_waited() -> None:
    """Neither less, nor by our own doubling."""
    time, place = Time(), Place(Later("too many", 7.0), Later("too many", 2.0))
    await sent(place.deliver, time, news("a"))
    assert (time.slept, place.arrived) == ([7.0, 2.0], ["a"])


async def test_a_server_that_asks_for_no_pause_is_not_hammered() -> None:
    """``Retry-After: 0``, again and again, is waited for as any other trouble is."""
    time, place = Time(), Place(Later("too many", 0.0), Later("too many", 0.0))
    await sent(place.deliver, time, news("a"))
    assert (time.slept, place.arrived) == ([1.0, 1.0], ["a"])


async def test_a_refusal_that_stays_is_said_again_after_an_hour(logged: io.StringIO) -> None:
    """Once for many letters; but what is lost for weeks is not said in the first minute alone."""
    time, place = Time(), Place(*(Hopeless("no such channel") for _ in range(4)))
    courier = Courier("place", place.deliver, clock=lambda: time.now, sleep=time.sleep)
    async with anyio.create_task_group() as group:
        group.start_soon(courier.run)
        for pause in (0, 1800, 1800, 1800):
            time.now += pause
            courier.post(news("a"))
            await courier.flush(20)
        group.cancel_scope.cancel()
    assert [line["trouble"] for line in lines(logged)] == ["no such channel"] * 2


async def test_what_stays_true_waits_as_long_as_an_ending() -> None:
    """Nobody would say again that the disk is full, however long the place could not be reached."""
    time, place = Time(), Place(*(Later("no answer") for _ in range(5)))
    full = Report(News.DISK_LOW, "the disk is full", topic="disk")
    await sent(place.deliver, time, news("a"), full)
    assert place.arrived == ["the disk is full"]


async def test_pauses_double(logged: io.StringIO) -> None:
    """A server in trouble is asked less and less, and the log says so once."""
    time, place = Time(), Place(*(Later("no answer") for _ in range(3)))
    await sent(place.deliver, time, news("a"))
    assert (time.slept, place.arrived) == ([1.0, 2.0, 4.0], ["a"])
    assert [line["event"] for line in lines(logged)] == ["news waits", "news is told again"]


async def test_what_waited_too_long_is_dropped_and_counted(logged: io.StringIO) -> None:
    """One line when it begins, one with the count when it is over; an ending waits longer."""
    time, place = Time(), Place(*(Later("no answer") for _ in range(5)))
    posted = [news("a"), news("b"), news("the end", News.ENDED)]
    await sent(place.deliver, time, *posted)
    assert place.arrived == ["the end"]
    assert [line["event"] for line in lines(logged)] == [
        "news waits",
        "news is dropped",
        "news is told again",
    ]
    assert lines(logged)[-1]["dropped"] == 2


async def test_a_pause_longer_than_the_patience_is_not_waited(logged: io.StringIO) -> None:
    """News that would be too old then makes room for others at once."""
    time, place = Time(), Place(Later("too many", 3600.0))
    await sent(place.deliver, time, news("a"), news("b"))
    assert (place.tries, time.slept) == (1, [])
    assert [line["event"] for line in lines(logged)] == ["news is dropped", "news was not told"]


async def test_a_refusal_and_a_defect_cost_one_letter_each() -> None:
    """What comes after them is told."""
    place = Place(Hopeless("no such channel"), ValueError("a defect"))
    await sent(place.deliver, Time(), news("a"), news("b"), news("c"))
    assert place.arrived == ["c"]


async def test_flushing_ends_in_time(logged: io.StringIO) -> None:
    """What hangs is left, and counted."""

    async def hang(_: Report) -> None:
        await anyio.sleep_forever()

    courier = Courier("place", hang)
    async with anyio.create_task_group() as group:
        group.start_soon(courier.run)
        courier.post(news("a"))
        courier.post(news("b"))
        await anyio.wait_all_tasks_blocked()
        await courier.flush(0.01)
        group.cancel_scope.cancel()
    (line,) = lines(logged)
    assert (line["event"], line["count"]) == ("news was not told", 2)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 10))
def test_a_full_queue_drops_what_matters_least(finals: list[bool], most: int) -> None:
    """The oldest that is not final goes first; the newest letter always stays."""
    outbox = Outbox(most)
    kept: list[int] = []
    for number, is_final in enumerate(finals):
        dropped = outbox.put(Letter(news(str(number), News.ENDED if is_final else News.STARTED), 0))
        if len(kept) == most:
            passing = [n for n in kept if not finals[n]]
            kept.remove((passing or kept)[0])
        assert dropped == (number >= most)
        kept.append(number)
    assert [int(outbox.take().report.text) for _ in range(len(outbox))] == kept


def test_what_stands_is_told_once() -> None:
    """The same words about the same thing are no news, until they changed or it was over."""
    once, low = Once(), Report(News.DISK_LOW, "5 % are left", topic="disk")
    over = Report(News.RECOVERED, "there is space", topic="disk")
    assert not once.is_news(over)
    assert [once.is_news(one) for one in (low, low, over, over, low)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert once.is_news(Report(News.DISK_LOW, "4 % are left", topic="disk"))
    assert once.is_news(Report(News.WARNING, "x"))
    assert once.is_news(Report(News.WARNING, "x"))
