"""News in Slack, told to a server that answers like it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner import log
from runner.model import Cause, News, Report, Result
from runner.redaction import Redactor, Secret
from runner.reporters.base import Reporter
from runner.reporters.courier import Patience
from runner.reporters.options import SlackOptions
from runner.reporters.slack import SlackReporter
from tests.contracts.reporters import PATIENCE, ReporterContract
from tests.servers.slack import BROKEN, RATE_LIMITED, TOKEN, Slack, refusal
from tests.servers.web import Reply

pytestmark = pytest.mark.anyio

QUICK = Patience(pause=timedelta(milliseconds=10))
NOWHERE = "http://127.0.0.1:9/"
STARTED = Report(News.STARTED, "exp-1 is running", queue="q", key="exp-1", attempt=1)
STORED = replace(STARTED, news=News.CHECKPOINTED, text="exp-1: stored modeldir")
FAILED = replace(
    STARTED,
    news=News.ENDED,
    text="exp-1 ended: exit: it exited with 3",
    cause=Cause.EXIT,
    metrics={"loss": 0.25},
    result=Result(
        "failed", "acked", "it exited with 3", "Read the output.", 3, 3723.0, ("one", "<!here> two")
    ),
)
COMPLETED = replace(FAILED, cause=Cause.COMPLETED, result=Result("completed", "acked"))
RETRIED = replace(FAILED, result=Result("failed", "released", "the card is lost"))


@pytest.fixture
def slack() -> Iterator[Slack]:
    """Return a workspace."""
    with Slack().serving() as slack:
        yield slack


def bot(slack: Slack, **options: object) -> SlackOptions:
    """Return the options of a bot in this workspace."""
    given = SlackOptions(token=Secret(TOKEN), room="#lab", api=slack.api)
    return replace(given, **options)  # type: ignore[arg-type]


class TestSlackBot(ReporterContract):
    """With a bot's token."""

    silent = frozenset({News.ACCEPTED, News.QUEUES_CHANGED})

    @pytest.fixture
    def reporter(self, redactor: Redactor, slack: Slack) -> Reporter:
        """Tell the workspace."""
        return SlackReporter(bot(slack), redactor)

    @pytest.fixture
    def told(self, slack: Slack) -> Callable[[], str]:
        """Return what it was told."""
        return lambda: slack.told

    @pytest.fixture
    def broken(self, redactor: Redactor) -> Reporter:
        """Tell nobody: nothing listens there."""
        options = SlackOptions(token=Secret(TOKEN), room="#lab", api=NOWHERE)
        return SlackReporter(options, redactor)


class TestSlackHook(ReporterContract):
    """With an incoming webhook."""

    silent = frozenset({News.ACCEPTED, News.QUEUES_CHANGED, News.STARTED, News.CHECKPOINTED})

    @pytest.fixture
    def reporter(self, redactor: Redactor, slack: Slack) -> Reporter:
        """Tell the hook."""
        return SlackReporter(SlackOptions(hook=Secret(slack.hook)), redactor)

    @pytest.fixture
    def told(self, slack: Slack) -> Callable[[], str]:
        """Return what it was told."""
        return lambda: slack.told

    @pytest.fixture
    def broken(self, redactor: Redactor) -> Reporter:
        """Tell nobody: nothing listens there."""
        return SlackReporter(SlackOptions(hook=Secret(NOWHERE)), redactor)


@asynccontextmanager
async def running(options: SlackOptions, **more: object) -> AsyncIterator[SlackReporter]:
    """Run a reporter; at the end all that it was sent is told."""
    reporter = SlackReporter(options, Redactor(), **more)  # type: ignore[arg-type]
    async with anyio.create_task_group() as group:
        group.start_soon(reporter.run)
        yield reporter
        await reporter.flush(PATIENCE)
        group.cancel_scope.cancel()


async def tell(options: SlackOptions, *reports: Report) -> None:
    """Have these told by a reporter of their own, which is soon back after trouble."""
    async with running(options, patience=QUICK) as reporter:
        for report in reports:
            await reporter.send(report)


@pytest.fixture
def logged() -> io.StringIO:
    """Return the log."""
    stream = io.StringIO()
    log.configure(level="info", form="json", redactor=Redactor(), stream=stream)
    return stream


async def test_one_experiment_is_one_message(slack: Slack) -> None:
    """It is posted at the start, changed from then on, and its end is an answer to it."""
    await tell(bot(slack), STARTED, STORED, FAILED)
    post, *changes, answer = slack.calls
    assert slack.methods() == ["chat.postMessage", "chat.update", "chat.update", "reply"]
    assert {call["ts"] for call in changes} == {answer["thread_ts"]}
    assert (post["channel"], {call["channel"] for call in changes}) == ("#lab", {"C1"})
    assert "is running" in json.dumps(post)
    shown = json.dumps(changes[-1])
    assert all(part in shown for part in ("has failed (exit)", "1 h 02 min", "Read the output."))
    assert all(part in json.dumps(answer) for part in ("loss 0.25", "&lt;!here&gt; two"))


async def test_checkpoints_do_not_flood_a_channel(slack: Slack) -> None:
    """Many within a minute change the message once; its next change shows how many they were."""
    await tell(bot(slack), STARTED, STORED, STORED, STORED, COMPLETED)
    assert slack.methods() == ["chat.postMessage", "chat.update", "chat.update", "reply"]
    assert "*Checkpoints*\\n3" in json.dumps(slack.calls[-2])


async def test_a_restarted_daemon_goes_on_with_the_same_message(
    slack: Slack, tmp_path: Path
) -> None:
    """The message is remembered in a private file until the experiment has ended."""
    memory = tmp_path / "threads.json"
    await tell(bot(slack, memory=memory), STARTED)
    assert memory.stat().st_mode & 0o777 == 0o600
    adopted = replace(STARTED, text="exp-1 goes on", facts={"adopted": "true"})
    await tell(bot(slack, memory=memory), adopted, COMPLETED)
    assert slack.methods() == ["chat.postMessage", "chat.update", "chat.update", "reply"]
    assert json.loads(memory.read_bytes())["threads"] == {}


async def test_a_retried_experiment_keeps_its_message(slack: Slack) -> None:
    """An attempt that is repeated ends in the thread, and the next one is announced there."""
    await tell(bot(slack), STARTED, RETRIED, replace(STARTED, attempt=2), COMPLETED)
    assert slack.methods().count("chat.postMessage") == 1
    assert "will be tried again" in slack.told
    assert "attempt 2 is running" in slack.told


async def test_a_message_that_was_deleted_is_written_anew(slack: Slack) -> None:
    """Somebody tidied up the channel: the result is told all the same."""
    async with running(bot(slack)) as reporter:
        await reporter.send(STARTED)
        await reporter.flush(PATIENCE)
        slack.next = [refusal("message_not_found")]
        await reporter.send(COMPLETED)
    assert slack.methods() == ["chat.postMessage", "chat.postMessage", "reply"]
    assert slack.calls[-1]["thread_ts"] != "17000000.000001"


@pytest.mark.parametrize(
    "answer", [RATE_LIMITED, BROKEN, refusal("internal_error")], ids=["429", "503", "internal"]
)
async def test_what_passes_is_waited_for(slack: Slack, answer: object) -> None:
    """A rate limit and a fault of Slack's own cost no news."""
    slack.next = [answer]  # type: ignore[list-item]
    await tell(bot(slack), STARTED)
    assert slack.methods() == ["chat.postMessage"]


async def test_a_hook_that_limits_us_is_waited_for(slack: Slack) -> None:
    """The same through a hook; results and failures alone go there, whole."""
    slack.next = [RATE_LIMITED]
    await tell(SlackOptions(hook=Secret(slack.hook)), STARTED, STORED, FAILED)
    (call,) = slack.calls
    shown = json.dumps(call)
    assert all(part in shown for part in ("has failed (exit)", "loss 0.25", "two", "1 h 02 min"))


@pytest.mark.parametrize("error", ["channel_not_found", "invalid_auth", "no_idea"])
async def test_a_refusal_is_said_once(slack: Slack, logged: io.StringIO, error: str) -> None:
    """What a person has to mend is one line in the log, however much news is refused for it."""
    slack.next = [refusal(error)] * 3
    warning = Report(News.WARNING, "one")
    await tell(bot(slack), warning, replace(warning, text="two"), replace(warning, text="three"))
    (line,) = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert error in line["trouble"]
    assert slack.calls == []


@pytest.mark.parametrize(
    ("allowed", "wanted", "told"),
    [
        ((), "#team-a", "#lab"),
        (("#team-.*",), "#team-a", "#team-a"),
        (("#team-.*",), "x#team-a", "#lab"),
        (("#team-.*",), "#team-unknown", "#lab"),
        (("#team-.*",), "", "#lab"),
    ],
)
async def test_a_sender_chooses_among_what_the_operator_allows(
    slack: Slack, allowed: tuple[str, ...], wanted: str, told: str
) -> None:
    """A pattern has to match the whole; a channel that cannot be had costs nobody the news."""
    options = bot(slack, destinations=tuple(re.compile(text) for text in allowed))
    await tell(options, replace(FAILED, destination=wanted))
    assert slack.calls[0]["channel"] == told


async def test_an_old_hook_that_knows_no_such_channel_tells_the_room(slack: Slack) -> None:
    """Hooks of the old kind heed a channel; one that they may not write to costs no news."""
    slack.next = [Reply(404, body=b"channel_not_found")]
    allowed = (re.compile("#team-.*"),)
    options = SlackOptions(hook=Secret(slack.hook), room="#lab", destinations=allowed)
    await tell(options, replace(FAILED, destination="#team-gone"))
    assert [call["channel"] for call in slack.calls] == ["#lab"]


async def test_a_page_in_slacks_place_is_no_answer(slack: Slack) -> None:
    """A network that wants a login answers everything with success: the news waits for Slack."""
    login = Reply(headers={"Content-Type": "text/html"}, body=b"<!doctype html>log in, please")
    slack.next = [login]
    await tell(bot(slack), STARTED)
    assert slack.methods() == ["chat.postMessage"]
    slack.next = [login]
    await tell(SlackOptions(hook=Secret(slack.hook)), FAILED)
    assert slack.methods() == ["chat.postMessage", "hook"]


async def test_an_end_whose_answer_is_refused_is_over(slack: Slack, tmp_path: Path) -> None:
    """The next experiment of that name gets a message of its own."""
    memory = tmp_path / "threads.json"
    async with running(bot(slack, memory=memory)) as reporter:
        await reporter.send(STARTED)
        await reporter.flush(PATIENCE)
        slack.refused = {"thread_ts": "restricted_action_thread_locked"}
        await reporter.send(COMPLETED)
    assert json.loads(memory.read_bytes())["threads"] == {}


async def test_what_is_too_big_for_this_machine_is_told_once_for_a_queue(slack: Slack) -> None:
    """A runner without cards hands on what needs one: that is no news each time."""
    first = replace(FAILED, cause=Cause.TOO_BIG, result=Result("refused", "released", "0 GPUs"))
    reports = [first, first, replace(first, key="exp-2"), replace(first, queue="other")]
    await tell(SlackOptions(hook=Secret(slack.hook)), *reports)
    assert len(slack.calls) == 2
    assert ["other" in json.dumps(call) for call in slack.calls] == [False, True]


async def test_a_slack_that_hangs_delays_nobody(slack: Slack) -> None:
    """Sending returns at once, and neither flushing nor ending waits for an answer."""
    slack.answers.clear()
    reporter = SlackReporter(bot(slack), Redactor())
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(reporter.run)
            for _ in range(1000):
                await reporter.send(STARTED)
            await reporter.flush(0.05)
            group.cancel_scope.cancel()
    assert slack.calls == []


async def test_neither_hook_nor_token_is_ever_shown(slack: Slack, logged: io.StringIO) -> None:
    """What the log says of a Slack that cannot be reached or understood holds no secret."""
    hook, short = slack.hook, Patience(endings=timedelta(seconds=0.3))
    for address in (hook, "http://127.0.0.1:9/hookSECREThook", "http://[hookSECREThook"):
        slack.next = [BROKEN]
        options = SlackOptions(hook=Secret(address))
        async with running(options, patience=short) as reporter:
            await reporter.send(FAILED)
    slack.next = [BROKEN]
    async with running(bot(slack), patience=short) as reporter:
        await reporter.send(FAILED)
    slack.next = [Reply(404, body=b"Cannot POST /services/T0/B0/hookSECREThook")]
    await tell(SlackOptions(hook=Secret(hook)), FAILED)
    assert "news waits" in logged.getvalue()
    assert "Slack answers 404" in logged.getvalue()
    assert "SECRET" not in logged.getvalue()


@pytest.mark.parametrize(
    ("outcome", "settled", "cause", "heard"),
    [
        ("completed", "acked", Cause.COMPLETED, "by hook and bot"),
        ("failed", "released", Cause.GPU_FAULT, "by hook and bot"),
        ("refused", "buried", Cause.BAD_REQUEST, "by hook and bot"),
        ("refused", "acked", Cause.NOT_OURS, "nowhere"),
        ("refused", "released", Cause.NOT_A_REQUEST, "nowhere"),
        ("deferred", "released", Cause.NO_ROOM, "nowhere"),
        ("deferred", "released", Cause.STORE_UNAVAILABLE, "nowhere"),
        ("deferred", "buried", Cause.STORE_UNAVAILABLE, "by hook and bot"),
        ("stopped", "acked", Cause.CANCELLED, "by hook and bot"),
        ("stopped", "released", Cause.DRAINED, "by bot"),
        ("stopped", "released", Cause.LEASE_LOST, "by bot"),
    ],
)
async def test_a_channel_hears_of_results_alone(
    slack: Slack, outcome: str, settled: str, cause: Cause, heard: str
) -> None:
    """What only goes back to its queue is no news, unless people saw it run."""
    ended = replace(FAILED, cause=cause, result=Result(outcome, settled))
    await tell(SlackOptions(hook=Secret(slack.hook)), ended)
    assert bool(slack.calls) is ("hook" in heard)
    slack.calls.clear()
    await tell(bot(slack), STARTED, ended)
    assert ("reply" in slack.methods()) is ("bot" in heard)
