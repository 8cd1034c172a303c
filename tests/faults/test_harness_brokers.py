"""A share of ``make faults`` with each real broker and S3: what is killed there costs nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.brokers import Broker, PubsubSubscription, RabbitQueue, SqsQueue
from tests.faults.named import Named
from tests.faults.plan import BOTH, DAEMON, SUPERVISOR
from tests.faults.shelves import S3Shelf
from tests.faults.wreck import Wreck
from tests.servers.pubsub import Emulator
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server

#: Servers and daemons share two cores with everything else.
pytestmark = pytest.mark.timeout(300)

#: One for each victim, early, in the middle and late; ``make faults`` has every moment.
FAULTS = [
    ("the experiment is claimed", BOTH),
    ("its script has begun", DAEMON),
    ("it is stored", SUPERVISOR),
]


def hurt(root: Path, broker: Broker, server: S3Server) -> None:
    """Inject the faults, and see that they cost nothing."""
    with (
        server.bucket() as bucket,
        Wreck(root, broker, S3Shelf(server, bucket)) as wreck,
    ):
        scene = Named(wreck, random.Random(8))  # noqa: S311 - the same every time
        scene.inject(FAULTS)
    assert scene.toll.is_clean, scene.toll.lines()
    assert scene.toll.faults_injected == len(FAULTS)


@pytest.mark.service("rabbitmq", "s3")
def test_rabbitmq(tmp_path: Path, rabbit_server: RabbitServer, seaweed_server: S3Server) -> None:
    """Parked messages are adopted or come back; nothing stays in a queue of ours."""
    hurt(tmp_path, RabbitQueue(rabbit_server), seaweed_server)


@pytest.mark.service("sqs", "s3")
def test_sqs(tmp_path: Path, moto_server: S3Server, seaweed_server: S3Server) -> None:
    """Hidden messages are adopted or become visible; each is deleted in the end."""
    hurt(tmp_path, SqsQueue(moto_server), seaweed_server)


@pytest.mark.service("pubsub", "s3")
def test_pubsub(tmp_path: Path, pubsub_emulator: Emulator, seaweed_server: S3Server) -> None:
    """Leases are adopted or end; each message is acknowledged in the end."""
    hurt(tmp_path, PubsubSubscription(pubsub_emulator), seaweed_server)
