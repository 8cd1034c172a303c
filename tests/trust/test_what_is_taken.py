"""Foreign queues stay untouched, and what is taken is said beforehand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.app.choosing import choice
from runner.settings import Settings
from tests.acceptance.box import Box

FOREIGN = ("private", "payments", "local_mine_response")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine with queues of several kinds of owners."""
    with Box(tmp_path) as box:
        for name in FOREIGN:
            (box.queues / name).mkdir()
            box.publish_bytes(b'{"order": 17}', name)
        yield box


def look(box: Box) -> dict[str, bytes]:
    """Return every file of the foreign queues."""
    paths = (path for name in FOREIGN for path in (box.queues / name).iterdir())
    return {str(path): path.read_bytes() for path in paths}


@pytest.mark.parametrize("broker", ["local", "sqs", "rabbitmq"])
def test_by_default_only_names_that_clients_make_are_taken(broker: str) -> None:
    """Whatever else an account shows is somebody else's."""
    rule = choice(Settings.load([], {}), broker)
    names = {"rmq_a", "sqs_b", "ec2_c", "local_d", "local", "my_rmq", "orders", "rmq_a_response"}
    assert rule.divide(names)[0] == {"rmq_a", "sqs_b", "ec2_c", "local_d", "local"}


def test_of_a_google_project_every_subscription_is_taken() -> None:
    """Clients give them no names of their own; a pattern that is given counts for them, too."""
    assert choice(Settings.load([], {}), "pubsub").divide({"a", "b"})[0] == {"a", "b"}
    given = Settings.load(["--queue-match", "^a"], {})
    assert choice(given, "pubsub").divide({"a", "b"})[0] == {"a"}


def test_a_dry_run_says_what_is_taken_and_what_is_left(box: Box) -> None:
    """With the option that takes the rest; and it touches nothing."""
    box.submit("print('waits')", key="test_waits")
    before = look(box)
    (box.state / "work").mkdir(parents=True)
    command = [sys.executable, "-m", "runner", "run", *box.options(), "--dry-run"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=box.environ())
    assert "would take test_waits" in done.stdout
    taken, left = done.stdout.split("local_test", 1)[0], done.stdout
    assert "1 taken, 3 left" in taken, done.stdout
    assert [name for name in FOREIGN if name not in left] == []
    assert "--queue" in left
    assert look(box) == before
    assert [path.name for path in box.state.iterdir()] == ["work"]


def test_foreign_queues_are_not_touched(box: Box) -> None:
    """The log names what is taken, and nothing else is read, moved or written to."""
    before = look(box)
    box.start()
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
    assert any("local_test" in event for event in events(box))
    assert look(box) == before


def test_the_first_lines_of_the_log_say_what_is_left(box: Box) -> None:
    """By name, with the option that takes it, before anything ran."""
    box.start()
    assert box.outcome(box.submit("print('ran')"))["cause"] == "completed"
    (said,) = [event for event in events(box) if "payments" in event]
    assert [name for name in FOREIGN if name not in said] == []
    assert "--queue" in said


def events(box: Box) -> list[str]:
    """Return the sentences of the log."""
    return [json.loads(line)["event"] for line in box.log().splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_the_demo_says_that_it_runs_as_root(tmp_path: Path) -> None:
    """It is the one command that allows it by itself."""
    from runner.cli import demo  # noqa: PLC0415 - slow to import

    assert "--allow-root-experiments" in demo._options(tmp_path)
