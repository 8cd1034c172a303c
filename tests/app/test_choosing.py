"""Which queues the settings take, for the daemon and for the commands that speak of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runner.app.choosing import choice
from runner.cli.arguments import ClientCommand
from runner.cli.queues import SETTINGS
from runner.settings import Settings

NAMES = {"rmq_a", "sqs_lab_b", "sqs_c", "sqs_lab_old", "local_d", "orders", "mine"}
LINES: list[Sequence[str]] = [
    (),
    ("--sqs-prefix", "sqs_lab"),
    ("--queue-match", "_lab_", "--queue-mismatch", "old"),
    ("--queue", "local://mine", "--queue", "sqs://orders"),
]


def seen_by_commands(line: Sequence[str]) -> Settings:
    """Return the settings that ``studio-runner queue`` reads: not all of them."""
    command = ClientCommand(
        "queue",
        "about",
        "usage",
        settings=("queue", *SETTINGS),
        arguments=lambda _: None,
    )
    return command.parse(line, {})[0]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line) or "defaults")
@pytest.mark.parametrize("broker", ["local", "sqs", "rabbitmq", "pubsub"])
def test_commands_and_the_daemon_choose_alike(line: Sequence[str], broker: str) -> None:
    """What a command calls taken is what a daemon with the same options takes."""
    assert choice(seen_by_commands(line), broker) == choice(Settings.load(line, {}), broker)


def test_a_prefix_is_of_sqs_alone() -> None:
    """It says nothing of other brokers' queues, and what it excludes is said with its name."""
    settings = Settings.load(("--sqs-prefix", "sqs_lab"), {})
    rule = choice(settings, "sqs")
    assert rule.divide(NAMES)[0] == {"sqs_lab_b", "sqs_lab_old"}
    assert "--sqs-prefix sqs_lab" in rule.reason("sqs_c")
    assert "rmq_a" in choice(settings, "rabbitmq").divide(NAMES)[0]


def test_a_queue_that_is_named_needs_no_pattern() -> None:
    """``--queue`` names local queues here; others are their credential's to know."""
    settings = Settings.load(("--queue", "local://mine", "--queue", "sqs://orders"), {})
    assert "mine" in choice(settings, "local").divide(NAMES)[0]
    assert "orders" not in choice(settings, "sqs").divide(NAMES)[0]
