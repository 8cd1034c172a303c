"""Brokers of RabbitMQ as the tests open them."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta
from pathlib import Path

from runner.model import Bytes
from runner.queues.base import BrokerOptions
from runner.queues.choice import Choice
from runner.queues.credential import AmqpCredential
from runner.queues.drawer import Drawer
from runner.queues.rabbitmq import RabbitBroker
from runner.redaction import Secret
from tests.servers.rabbitmq import RabbitServer


def credential(
    url: str, *, management: str = "", queues: tuple[str, ...] = (), ca: Path | None = None
) -> AmqpCredential:
    """Return what a file with this URL would give."""
    return AmqpCredential(
        broker="rabbitmq",
        scope="amqp://127.0.0.1/",
        origin="rabbit/url",
        fingerprint=hashlib.sha256(url.encode()).hexdigest(),
        queues=queues,
        url=Secret(url),
        management_url=Secret(management),
        ca=ca,
    )


def options(
    directory: Path,
    *,
    lease: float = 2.0,
    limit: float = 10.0,
    match: str = "^rmq",
    named: frozenset[str] = frozenset(),
) -> BrokerOptions:
    """Return a daemon's options with a short lease."""
    return BrokerOptions(
        owner="a test",
        choice=Choice(re.compile(match), None, named),
        lease=timedelta(seconds=lease),
        refresh=timedelta(seconds=0.3),
        timeout=timedelta(seconds=limit),
        drawer=Drawer(directory / "drawer", Bytes(1 << 20)),
    )


def declared(server: RabbitServer) -> str:
    """Make a queue as a client would, and return its name."""
    name = f"rmq_{secrets.token_hex(4)}"
    server.declare(name)
    return name


def broker_of(server: RabbitServer, directory: Path, *, lease: float = 2.0) -> RabbitBroker:
    """Return a broker that may do everything, its management interface included."""
    own = credential(server.url, management=server.management_url)
    return RabbitBroker(own, options(directory, lease=lease))
