"""A command in this process that finds directories of the test's own, and nobody's credentials."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PLACES = {
    "HOME": "home",
    "QUEUE_ROOT": "queues",
    "LOCAL_STORE_ROOT": "store",
    "STATE_DIR": "state",
    "CERTS_DIR": "certs",
    "LOCK_DIR": "locks",
}
_OF_OTHERS = ("AWS_", "GOOGLE_", "PUBSUB_", "AMQP_", "STUDIO_RUNNER_", "SLACK_")


def stand_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of a machine with nothing on it, all of it below ``root``."""
    for name in os.environ:
        if name.startswith(_OF_OTHERS):
            monkeypatch.delenv(name)
    for name, place in _PLACES.items():
        monkeypatch.setenv(name, str(root / place))
