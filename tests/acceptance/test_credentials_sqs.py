"""An operator's day with Amazon's queues, as moto plays them."""

from __future__ import annotations

import pytest

from tests.acceptance.accounts import Account, SqsAccount
from tests.acceptance.operators_day import OperatorsDay
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.anyio


@pytest.mark.service("sqs")
class TestSqs(OperatorsDay):
    """With Amazon's queues."""

    @pytest.fixture
    def account(self, moto_server: S3Server) -> Account:
        """Return an account of moto's."""
        return SqsAccount(moto_server)
