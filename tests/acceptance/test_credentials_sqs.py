"""An operator's day with Amazon's queues, as moto plays them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.acceptance.operators_day import Account, OperatorsDay
from tests.servers.moto_sqs import Sqs
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.anyio


class SqsAccount:
    """An account of Amazon's, as moto plays it."""

    variables: Mapping[str, str] = MappingProxyType({})

    def __init__(self, server: S3Server) -> None:
        self.sqs = Sqs(f"http://127.0.0.1:{server.port}")
        self.queue, self.other = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("sqs", "theirs"))
        self.sqs.create(self.queue)
        self.sqs.create(self.other)
        self.sqs.send(self.other, '{"not": "yours"}')
        self._writes = 0

    def write(self, directory: Path) -> None:
        """See ``Account``."""
        self._writes += 1
        directory.mkdir(parents=True, exist_ok=True)
        key = f"AKIATESTTESTTEST000{self._writes}"
        (directory / "credentials").write_text(
            f"[default]\naws_access_key_id = {key}\n"
            f"aws_secret_access_key = a-very-secret-value-{self._writes}\n"
        )
        (directory / "config").write_text(
            f"[default]\nregion = us-west-2\nendpoint_url = {self.sqs.endpoint}\n"
        )
        os.chmod(directory / "credentials", 0o600)  # noqa: PTH101 - one line

    def send(self, body: str) -> None:
        """See ``Account``."""
        self.sqs.send(self.queue, body)

    def waiting(self) -> int:
        """See ``Account``."""
        return self._count("ApproximateNumberOfMessages")

    def theirs(self) -> list[int]:
        """See ``Account``: our own look is one of them."""
        found = self.sqs.all_in(self.other)
        return [int(one["Attributes"]["ApproximateReceiveCount"]) - 1 for one in found]

    def _count(self, name: str) -> int:
        url = self.sqs.url(self.queue)
        told = self.sqs.ask("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        return int(told["Attributes"][name])


@pytest.mark.service("sqs")
class TestSqs(OperatorsDay):
    """With Amazon's queues."""

    @pytest.fixture
    def account(self, moto_server: S3Server) -> Account:
        """Return an account of moto's."""
        return SqsAccount(moto_server)
