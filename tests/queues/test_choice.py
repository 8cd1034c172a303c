"""Tests of the choice of queues."""

from __future__ import annotations

import re

import pytest

from runner.queues.choice import Choice

CHOICE = Choice(re.compile("^(rmq|sqs|ec2|local)"), re.compile("old"), frozenset({"payments"}))


@pytest.mark.parametrize("queue", ["rmq_a", "sqs-demo", "local", "payments"])
def test_what_matches_or_is_named_is_taken(queue: str) -> None:
    """Clients' names are taken, and whatever else the operator wrote down."""
    assert CHOICE.takes(queue)


@pytest.mark.parametrize("queue", ["billing", "rmq_old", "rmq_a_response", "payments2"])
def test_everything_else_is_left(queue: str) -> None:
    """Other people's queues, those that were excluded, and those of reports."""
    assert not CHOICE.takes(queue)


def test_without_a_pattern_all_but_reports_are_taken() -> None:
    """As in a Google project, whose subscriptions have no names of their own."""
    taken, left = Choice().divide(["a", "b_sub", "b_response", "b_response_sub"])
    assert sorted(taken) == ["a", "b_sub"]
    assert sorted(left) == ["b_response", "b_response_sub"]
