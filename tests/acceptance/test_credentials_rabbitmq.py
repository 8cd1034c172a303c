"""An operator's day with a real RabbitMQ."""

from __future__ import annotations

import pytest

from tests.acceptance.accounts import Account, RabbitAccount
from tests.acceptance.operators_day import OperatorsDay
from tests.servers.rabbitmq import RabbitServer

pytestmark = pytest.mark.anyio


@pytest.mark.service("rabbitmq")
class TestRabbit(OperatorsDay):
    """With a real RabbitMQ."""

    @pytest.fixture
    def account(self, rabbit_server: RabbitServer) -> Account:
        """Return a user of it."""
        return RabbitAccount(rabbit_server)
