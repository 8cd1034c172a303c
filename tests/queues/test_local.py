"""The local broker keeps the promises of every broker, and those of a directory."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from runner.queues.choice import Choice
from runner.queues.local import LocalBroker
from tests.contracts.queues import Connect, QueueContract

pytestmark = pytest.mark.anyio


def _broker(root: Path, *, lease: timedelta) -> LocalBroker:
    return LocalBroker(
        root,
        choice=Choice(re.compile("^local")),
        lease=lease,
        owner="a test",
        poll=timedelta(seconds=5),
    )


class TestLocalQueue(QueueContract):
    """``runner.queues.local``."""

    backend = "local"

    @pytest.fixture(autouse=True)
    def root(self, tmp_path: Path) -> Path:
        """Return the queue root."""
        self._root = tmp_path / "queue"
        return self._root

    @pytest.fixture
    def connect(self, root: Path) -> Connect:
        """Open brokers on the same root."""
        return partial(_broker, root, lease=timedelta(seconds=0.6))

    @pytest.fixture
    def patient(self, root: Path) -> Connect:
        """Open brokers that have time."""
        return partial(_broker, root, lease=timedelta(seconds=2))

    @pytest.fixture
    def name(self) -> str:
        """Return a queue of a StudioML client's naming."""
        return "local_demo"

    async def create(self, name: str) -> None:
        """Make the queue's directory."""
        await anyio.to_thread.run_sync(lambda: (self._root / name).mkdir(parents=True))

    async def delete(self, name: str) -> None:
        """Remove the queue's directory."""
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(self._root / name))
