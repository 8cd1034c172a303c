"""A queue root and brokers on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runner.queues.choice import Choice
from runner.queues.local import LocalBroker

OpenBroker = Callable[[], LocalBroker]


def local_broker(
    root: Path,
    *,
    match: str = "^(rmq|sqs|ec2|local)",
    mismatch: str | None = None,
    named: frozenset[str] = frozenset(),
    lease: float = 0.6,
    poll: float = 5.0,
) -> LocalBroker:
    """Return a broker with a short lease."""
    return LocalBroker(
        root,
        choice=Choice(re.compile(match), re.compile(mismatch) if mismatch else None, named),
        lease=timedelta(seconds=lease),
        owner="a test",
        poll=timedelta(seconds=poll),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a queue root that nobody has made yet."""
    return tmp_path / "queue"


@pytest.fixture
def connect(root: Path) -> OpenBroker:
    """Return what opens another broker on the root."""
    return lambda: local_broker(root)
