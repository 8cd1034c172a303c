"""A daemon that tells Slack and a webhook of its experiments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, Json, until
from tests.servers.slack import HOOK, TOKEN, Slack
from tests.servers.web import Asked, Reply, WebServer

SCRIPT = (
    "import json, pathlib, time\n"
    "print(json.dumps({'loss': 0.125}))\n"
    "print('<!here> token=hooks.slack.com/services/T0/B0/XXXXXXXXXX')\n"
    "go = pathlib.Path(%r)\n"
    "while not go.exists():\n"
    "    time.sleep(0.02)\n"
    "print('last words')\n"
    "raise SystemExit(3)\n"
)


@pytest.fixture
def slack() -> Iterator[Slack]:
    """Return a workspace."""
    with Slack().serving() as slack:
        yield slack


def test_an_experiment_is_told_across_a_kill_of_the_daemon(tmp_path: Path, slack: Slack) -> None:
    """One message in Slack, begun by one daemon and ended by the next; all events as JSON."""
    events = WebServer(lambda _: Reply(204))
    with events.serving(), Box(tmp_path) as box:
        options = [
            *("--slack-room", "#lab", "--slack-api", slack.api),
            *("--slack-destinations", "#team-.*"),
        ]
        variables = {"SLACK_TOKEN": TOKEN, "WEBHOOK": f"{events.url}/SECRET", "SLACK_HOOK": ""}
        first = box.start(*options, variables=variables)
        go = box.root / "go"
        message = box.message(SCRIPT % str(go))
        message["config"]["runner"] = {"slack_destination": "#team-a"}
        key = box.publish(message)
        until(lambda: "is running" in slack.told or None, "the start told", box.log)
        until(lambda: "last" in box.live_output() or "here" in box.live_output() or None, "output")
        box.kill(first)
        second = box.start(*options, variables=variables)
        until(lambda: (_named(events.asked, "adopted")) or None, "the run adopted", box.log)
        go.touch()
        box.ended(key)
        until(lambda: "last words" in slack.told or None, "the end told in Slack", box.log)
        assert box.drain(second) == 0
        told = [call for call in slack.calls if key in json.dumps(call)]
        assert (told[0]["method"], told[0]["channel"]) == ("chat.postMessage", "#team-a")
        updates = [call for call in told if call["method"] == "chat.update"]
        answer = told[-1]
        assert {call["ts"] for call in updates} == {answer["thread_ts"]}
        assert "has failed (exit)" in json.dumps(updates[-1])
        shown = json.dumps(answer)
        assert all(part in shown for part in ("last words", "loss 0.125", "&lt;!here&gt;"))
        assert not any(part in slack.told for part in ("<!here>", "XXXXXXXXXX", TOKEN, HOOK))
        ended = next(one for one in _events(events.asked) if one["event"] == "ended")
        assert ended["experiment"]["key"] == key
        assert (ended["result"]["cause"], ended["result"]["exit_code"]) == ("exit", 3)
        assert ended["metrics"] == {"loss": 0.125}
        kinds = [one["event"] for one in _events(events.asked)]
        assert (kinds[0], kinds[-1]) == ("daemon-started", "daemon-stopped")
        assert "studio-runner" in json.dumps(slack.calls[0])
        assert json.loads((box.state / "slack-threads.json").read_bytes())["threads"] == {}
        assert not any(part in box.log() for part in (TOKEN, "SECRET", "defect"))


def _events(asked: list[Asked]) -> list[Json]:
    return [json.loads(one.body) for one in asked]


def _named(asked: list[Asked], fact: str) -> list[str]:
    return [one["text"] for one in _events(asked) if fact in one["facts"]]


def test_a_slack_that_hangs_keeps_neither_experiment_nor_daemon(
    tmp_path: Path, slack: Slack
) -> None:
    """The result is stored and the daemon ends while Slack owes its first answer."""
    slack.answers.clear()
    with Box(tmp_path) as box:
        hook = {"SLACK_HOOK": slack.hook}
        daemon = box.start("--limit-tasks", "1", variables=hook)
        key = box.submit("print('done')")
        assert box.outcome(key)["cause"] == "completed"
        assert daemon.wait(PATIENCE) == 0
        assert "news was not told" in box.log()
        assert "SECRET" not in box.log()
    assert slack.calls == []
