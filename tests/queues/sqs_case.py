"""Brokers for the tests of SQS, with leases of seconds and polls that end soon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from runner.model import Bytes
from runner.queues.base import BrokerOptions
from runner.queues.choice import Choice
from runner.queues.credential import AwsCredential
from runner.queues.drawer import Drawer
from runner.queues.sqs import SqsBroker
from runner.queues.sqs.receipt import CEILING
from runner.queues.sqs.terms import Terms


def sqs_broker(
    credential: AwsCredential,
    directory: Path,
    *,
    lease: float = 2,
    wait: float = 1,
    refresh: float = 0.2,
    timeout: float = 10,
    match: str = "^sqs",
    named: Iterable[str] = (),
    prefix: str = "",
    letters: int = 1 << 20,
    ceiling: timedelta = CEILING,
) -> SqsBroker:
    """Make a broker; its drawer is ``directory/dead``."""
    options = BrokerOptions(
        owner="a test",
        choice=Choice(re.compile(match), None, frozenset(named), prefix),
        lease=timedelta(seconds=lease),
        refresh=timedelta(seconds=refresh),
        timeout=timedelta(seconds=timeout),
        drawer=Drawer(directory / "dead", Bytes(letters)),
    )
    return SqsBroker(credential, options, wait=timedelta(seconds=wait), terms=Terms(ceiling))
