"""An operator's day with Google's emulator of Pub/Sub."""

from __future__ import annotations

import pytest

from tests.acceptance.accounts import Account, PubsubAccount
from tests.acceptance.operators_day import OperatorsDay
from tests.servers.pubsub import Emulator

pytestmark = pytest.mark.anyio


@pytest.mark.service("pubsub")
class TestPubsub(OperatorsDay):
    """With Google's emulator."""

    @pytest.fixture
    def account(self, pubsub_emulator: Emulator) -> Account:
        """Return a project of it."""
        return PubsubAccount(pubsub_emulator)
