"""Events as JSON for a program of the operator's own."""

from __future__ import annotations

import io
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from runner import log
from runner.model import Cause, News, Report, Result
from runner.redaction import Redactor, Secret
from runner.reporters.base import Reporter
from runner.reporters.courier import Patience
from runner.reporters.options import WebhookOptions
from runner.reporters.webhook import WebhookReporter, signature
from tests.contracts.reporters import PATIENCE, ReporterContract
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio

QUICK = Patience(timedelta(seconds=5), timedelta(seconds=5), pause=timedelta(milliseconds=10))
ENDED = Report(
    News.ENDED,
    "exp-1 ended: exit",
    queue="local_q",
    key="exp-1",
    project="p",
    attempt=2,
    cause=Cause.EXIT,
    metrics={"loss": 0.25, "odd": math.nan},
    result=Result("failed", "buried", "it exited with 3", "Read it.", 3, 1.23456, ("a", "b")),
)


class Receiver:
    """Answers with ``next``, then with success."""

    def __init__(self) -> None:
        self.next: list[Reply] = []
        self.web = WebServer(self._answer)

    @property
    def url(self) -> str:
        """Return the address, of which a part is secret."""
        return f"{self.web.url}/events?key=urlSECRETurl"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return what was received."""
        return [json.loads(asked.body) for asked in self.web.asked]

    def _answer(self, _: Asked) -> Reply:
        return self.next.pop(0) if self.next else Reply(204)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a server that is there."""
    receiver = Receiver()
    with receiver.web.serving():
        yield receiver


class TestWebhook(ReporterContract):
    """Every event, whatever it is about."""

    @pytest.fixture
    def reporter(self, redactor: Redactor, receiver: Receiver) -> Reporter:
        """Tell the server."""
        return WebhookReporter(WebhookOptions(Secret(receiver.url)), redactor)

    @pytest.fixture
    def told(self, receiver: Receiver) -> Callable[[], str]:
        """Return what it was told."""
        return lambda: json.dumps(receiver.events, ensure_ascii=False)

    @pytest.fixture
    def broken(self, redactor: Redactor) -> Reporter:
        """Tell nobody: nothing listens there."""
        return WebhookReporter(WebhookOptions(Secret("http://127.0.0.1:9/")), redactor)


@asynccontextmanager
async def running(url: str, secret: str = "") -> AsyncIterator[WebhookReporter]:
    """Run a reporter; at the end all that it was sent is told or dropped."""
    options = WebhookOptions(Secret(url), Secret(secret))
    reporter = WebhookReporter(options, Redactor(), patience=QUICK)
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.run)
        yield reporter
        await reporter.flush(PATIENCE)
        group.cancel_scope.cancel()


async def test_an_event_is_the_documented_json(receiver: Receiver) -> None:
    """One POST, of the fields that docs/news.md lists."""
    async with running(receiver.url) as reporter:
        await reporter.send(ENDED)
    (event,) = receiver.events
    assert event.pop("id")
    assert event.pop("host")
    assert event.pop("time").endswith("Z")
    assert event == {
        "version": 1,
        "event": "ended",
        "text": "exp-1 ended: exit",
        "topic": None,
        "queue": "local_q",
        "experiment": {"key": "exp-1", "project": "p", "attempt": 2},
        "result": {
            "outcome": "failed",
            "cause": "exit",
            "detail": "it exited with 3",
            "advice": "Read it.",
            "exit_code": 3,
            "seconds": 1.235,
            "settled": "buried",
            "final": True,
            "output": ["a", "b"],
        },
        "metrics": {"loss": 0.25},
        "facts": {},
    }
    (asked,) = receiver.web.asked
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-studio-runner-event"] == "ended"
    assert asked.headers["x-studio-runner-signature"] is None


async def test_a_receiver_can_check_who_sent_it(receiver: Receiver) -> None:
    """With a secret, the time and the body are signed."""
    async with running(receiver.url, "between us") as reporter:
        await reporter.send(ENDED)
    (asked,) = receiver.web.asked
    stamp = asked.headers["x-studio-runner-timestamp"]
    expected = signature(Secret("between us"), stamp, asked.body)
    assert asked.headers["x-studio-runner-signature"] == expected
    assert signature(Secret("between us"), stamp, asked.body + b" ") != expected
    assert signature(Secret("k"), "1700000000", b"{}") == (
        "sha256=c6ef4734033cee2367414a0939385eca0397754aa7a59716da7463a9298b5146"
    )


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(500),
        Reply(503, {"Retry-After": "0"}),
        Reply(429, {"Retry-After": "0"}),
        Reply(429),
        Reply(429, {"Retry-After": "nan"}),
        Reply(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ],
    ids=["500", "503", "429", "429 without a time", "429 of no number", "503 of a date"],
)
async def test_each_try_sends_the_same_event(receiver: Receiver, trouble: Reply) -> None:
    """What a receiver got and could not acknowledge has the same id when it comes again."""
    receiver.next = [trouble, Reply(500)]
    async with running(receiver.url) as reporter:
        await reporter.send(ENDED)
        await reporter.send(ENDED)
    ids = [event["id"] for event in receiver.events]
    assert (len(ids), len(set(ids))) == (4, 2)


@pytest.mark.parametrize("answer", [Reply(404), Reply(302, {"Location": "/elsewhere"})])
async def test_a_refusal_is_not_repeated(receiver: Receiver, answer: Reply) -> None:
    """A wrong address is said in the log, without the address; nothing follows a redirect."""
    stream = io.StringIO()
    log.configure(level="info", form="json", redactor=Redactor(), stream=stream)
    receiver.next = [answer, answer]
    async with running(receiver.url) as reporter:
        await reporter.send(ENDED)
        await reporter.send(ENDED)
    assert len(receiver.events) == 2
    (line,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert str(answer.status) in line["trouble"]
    assert "SECRET" not in stream.getvalue()
