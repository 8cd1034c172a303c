"""Spans on their way to a collector: whole where it takes them, in nobody's way where not."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from runner import log
from runner.redaction import Redactor
from runner.reporters.tracing import EXPORTERS, is_installed
from runner.reporters.tracing.base import Exporter, Refused, TraceSpan, Undelivered
from runner.reporters.tracing.otlp import Otlp
from runner.reporters.tracing.posting import Pace, SpanPost
from runner.request.trace import TraceContext
from tests.servers.collector import Collector

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
QUICK = Pace(gather=timedelta(0), pause=timedelta(milliseconds=5))
GROUND = TraceContext(0xABC, 0xDEF)
RESOURCE = {"service.name": "studio-runner", "service.version": "1.2", "host.name": "gpu-1"}


def span(name: str = "run", error: str | None = None, *, is_whole: bool = False) -> TraceSpan:
    """Return one of a second's length."""
    about: dict[str, str | int] = {"studioml.experiment.key": "exp-1", "studioml.attempt": 2}
    return TraceSpan(name, GROUND.at(name), 0xDEF, 1000.25, 1001.25, about, error, is_whole)


def close(otlp: Otlp) -> None:
    """Have it try nothing again."""
    exporter: Any = otlp._exporter
    exporter.shutdown()


class Notes(Exporter):
    """Takes spans, but for the troubles that it was given."""

    def __init__(self, *troubles: Exception) -> None:
        self.taken: list[str] = []
        self.batches: list[int] = []
        self._troubles = list(troubles)

    def export(self, spans: Sequence[TraceSpan]) -> None:
        """Raise the next trouble, or note the names."""
        if self._troubles:
            raise self._troubles.pop(0)
        self.batches.append(len(spans))
        self.taken += [one.name for one in spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a collector that is there."""
    with Collector().serving() as collector:
        yield collector


@pytest.fixture
def said() -> io.StringIO:
    """Return what is logged."""
    stream = io.StringIO()
    log.configure(level="info", form="json", redactor=Redactor(), stream=stream)
    return stream


async def tell(post: SpanPost, *spans: TraceSpan, patience: float = PATIENCE) -> None:
    """Post these while the sender runs, and wait until they are told."""
    async with anyio.create_task_group() as group:
        group.start_soon(post.run)
        for one in spans:
            post.add(one)
        await post.flush(patience)
        group.cancel_scope.cancel()


async def test_a_collector_gets_spans_as_the_standard_wants_them(collector: Collector) -> None:
    """Names, numbers, times, attributes, status, and who tells them."""
    otlp = Otlp(f"{collector.url}/v1/traces", RESOURCE)
    post = SpanPost(lambda: otlp, pace=QUICK)
    await tell(post, span(), span("experiment", "exit: it exited with 3", is_whole=True))
    run, whole = collector.spans
    assert (run.name, run.trace, run.parent) == ("run", f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (run.span, run.status, run.kind) == (f"{GROUND.at('run').span_id:016x}", 0, 1)
    assert (run.started, run.ended) == (1000.25, 1001.25)
    assert run.attributes == {"studioml.experiment.key": "exp-1", "studioml.attempt": 2}
    assert RESOURCE.items() <= run.resource.items()
    assert (whole.status, whole.said, whole.kind) == (2, "exit: it exited with 3", 5)
    assert {one.target for one in collector.asked} == {"/v1/traces"}
    close(otlp)


async def test_what_a_collector_refuses_is_said_in_its_words(collector: Collector) -> None:
    """Once, by us: the exporter's own lines would come with every try."""
    collector.status = 400
    otlp = Otlp(f"{collector.url}/v1/traces", RESOURCE)
    with pytest.raises(Refused, match="400"):
        otlp.export([span()])
    close(otlp)


async def test_a_collector_that_is_away_may_be_back_later(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is told, not the number of tries."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.2")
    collector.status = 503
    otlp = Otlp(f"{collector.url}/v1/traces", RESOURCE)
    with pytest.raises(Undelivered) as caught:
        otlp.export([span()])
    assert not isinstance(caught.value, Refused)
    assert "Service Unavailable" in str(caught.value)
    collector.status = 200
    otlp.export([span()])
    assert len(collector.spans) == 1
    close(otlp)


async def test_the_operators_variables_say_who_speaks(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with every program that tells traces."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "our-runners")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=ml")
    otlp = Otlp(f"{collector.url}/v1/traces", RESOURCE)
    otlp.export([span()])
    (seen,) = collector.spans
    assert seen.resource["service.name"] == "our-runners"
    assert seen.resource["deployment.environment"] == "lab"
    assert seen.resource["host.name"] == "gpu-1"
    assert collector.asked[0].headers["x-team"] == "ml"
    close(otlp)


async def test_spans_that_were_not_taken_are_sent_again(said: io.StringIO) -> None:
    """In their order, all of them; it is said when it begins, and when it is over."""
    notes = Notes(Undelivered("away"), Undelivered("away"))
    await tell(SpanPost(lambda: notes, pace=QUICK), span("a"), span("b"))
    assert notes.taken == ["a", "b"]
    assert said.getvalue().count("spans wait") == 1
    assert said.getvalue().count("spans are told again") == 1


async def test_what_is_never_taken_stops_nothing_else(said: io.StringIO) -> None:
    """After its time it is dropped, and the next go; a defect costs its spans alone."""
    pace = Pace(gather=timedelta(0), pause=timedelta(milliseconds=1), patience=timedelta(0))
    notes = Notes(Undelivered("refused"))
    post = SpanPost(lambda: notes, pace=pace)
    await tell(post, span("a"))
    await tell(post, span("b"))
    assert notes.taken == ["b"]
    assert '"spans are dropped"' in said.getvalue()
    choosy = Notes(Refused("no such key"))
    post = SpanPost(lambda: choosy, pace=QUICK)
    await tell(post, span("a"))
    await tell(post, span("b"))
    assert choosy.taken == ["b"]
    broken = Notes(ZeroDivisionError())
    post = SpanPost(lambda: broken, pace=QUICK)
    await tell(post, span("a"))
    await tell(post, span("b"))
    assert broken.taken == ["b"]
    assert "a defect of the runner" in said.getvalue()


async def test_many_go_together_and_never_too_many_wait(said: io.StringIO) -> None:
    """The oldest make room: what is told late is told of now."""
    notes = Notes()
    post = SpanPost(lambda: notes, pace=Pace(most=10, together=4, gather=timedelta(0)))
    for number in range(15):
        post.add(span(str(number)))
    await tell(post)
    assert notes.taken == [str(number) for number in range(5, 15)]
    assert notes.batches == [4, 4, 2]
    assert "spans are dropped" in said.getvalue()


async def test_a_collector_that_never_answers_delays_nobody(
    collector: Collector, said: io.StringIO
) -> None:
    """Posting returns at once, and a daemon that ends waits as long as it said and no longer."""
    collector.hangs = True
    made: list[Otlp] = []

    def exporter() -> Exporter:
        made.append(Otlp(f"{collector.url}/v1/traces", RESOURCE))
        return made[0]

    post = SpanPost(exporter, pace=QUICK)
    with anyio.fail_after(PATIENCE):
        await tell(post, span(), span(), patience=0.05)
    assert "spans were not told" in said.getvalue()
    assert collector.spans == []
    collector._freed.set()
    for thread in threading.enumerate():
        if thread.name == "traces":
            if made:
                close(made[0])
            thread.join()


async def test_a_call_that_dawdles_is_left(said: io.StringIO) -> None:
    """No other begins beside it; what waits is sent when it has ended."""
    free, began = threading.Event(), threading.Event()

    class Dawdler(Notes):
        def export(self, spans: Sequence[TraceSpan]) -> None:
            began.set()
            free.wait()
            super().export(spans)

    notes = Dawdler()
    pace = Pace(gather=timedelta(0), pause=timedelta(0), call=timedelta(milliseconds=10))
    post = SpanPost(lambda: notes, pace=pace)
    async with anyio.create_task_group() as group:
        group.start_soon(post.run)
        post.add(span("a"))
        await anyio.to_thread.run_sync(began.wait)
        while "in time" not in said.getvalue():
            await anyio.lowlevel.checkpoint()
        free.set()
        await post.flush(PATIENCE)
        group.cancel_scope.cancel()
    assert set(notes.taken) == {"a"}


async def test_the_exporter_is_found_by_its_name() -> None:
    """And whether its packages are there is known without importing them."""
    assert is_installed()
    assert EXPORTERS.load("otlp") is Otlp
