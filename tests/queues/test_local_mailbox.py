"""Response queues as directories."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from runner.errors import QueueGone
from runner.queues.base import Broker
from runner.queues.local.mailbox import LocalMailbox
from tests.contracts.mailboxes import MailboxContract
from tests.contracts.queues import Connect
from tests.queues.conftest import local_broker

pytestmark = pytest.mark.anyio


class TestLocalMailbox(MailboxContract):
    """``runner.queues.local.mailbox``."""

    @pytest.fixture
    def connect(self, root: Path) -> Connect:
        """Open brokers on the same root."""
        return partial(local_broker, root, match="^local")

    @pytest.fixture
    def name(self) -> str:
        """Return a name as clients give it."""
        return "local_demo"

    async def test_reports_of_one_moment_keep_their_order(
        self, broker: Broker, mailbox: LocalMailbox
    ) -> None:
        """The clock of files is slower than we are."""
        await mailbox.make()
        bodies = [f'{{"time":"{number}"}}'.encode() for number in range(200)]
        await mailbox.post(bodies[:100])
        await mailbox.post(bodies[100:])
        assert await self.taken(broker, mailbox, 200) == bodies

    async def test_a_directory_that_goes_is_no_error_of_ours(
        self, mailbox: LocalMailbox, root: Path
    ) -> None:
        """Removing it ends the reports."""
        await mailbox.make()
        (root / mailbox.name).rmdir()
        with pytest.raises(QueueGone):
            await mailbox.post([b"{}"])
