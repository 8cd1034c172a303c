"""Accounts of brokers for acceptance tests: a credential, a queue, and a plain client beside it."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import pytest

from tests.acceptance.box import Box, until
from tests.servers.moto_sqs import Sqs
from tests.servers.pubsub import Emulator, new_project, subscription_path, topic_path
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server

BROKERS = (
    "local",
    pytest.param("sqs", marks=[pytest.mark.service("sqs"), pytest.mark.service("s3")]),
    pytest.param("rabbitmq", marks=pytest.mark.service("rabbitmq")),
    pytest.param("pubsub", marks=pytest.mark.service("pubsub")),
)
#: For tests that take ``pair``; each skips, and says so, where its server is not installed.
on_every_broker = pytest.mark.parametrize("broker", BROKERS, scope="session")
#: For tests that wait for leases, where one broker takes as long as the others together.
slowly_on_every_broker = pytest.mark.parametrize(
    "broker",
    [
        *BROKERS[:-1],
        pytest.param("pubsub", marks=[pytest.mark.service("pubsub"), pytest.mark.service("long")]),
    ],
    scope="session",
)
_EXAMPLES = Path(__file__).parents[2] / "certs.example"
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Seen:
    """A message as a plain client got it."""

    body: str
    #: Somebody had it before, where the broker tells.
    was_held: bool | None


#: Stops a daemon's process where it is, for as long as the block takes.
Suspended = Callable[[], AbstractContextManager[None]]


class Account(Protocol):
    """An account of a broker, with one queue that is StudioML's and one that is not."""

    queue: str
    #: What the daemon's environment needs for it.
    variables: Mapping[str, str]

    def write(self, directory: Path) -> None:
        """Write its credential, with a new secret each time."""

    def send(self, body: str) -> None:
        """Send a message as a client does."""

    def waiting(self) -> int:
        """Count what nobody holds."""

    def look(self) -> list[Seen]:
        """Receive as a plain client does what is visible, and give it back at once."""

    def take_back(self, daemon: Suspended) -> None:
        """Have the broker hand out again the one message that the daemon holds."""

    def theirs(self) -> list[int]:
        """Return how often each message of the other queue was handed out."""


class LocalAccount:
    """The queue root of a box; it takes no credential."""

    variables = _NO_VARIABLES
    queue = "local_test"

    def __init__(self, box: Box) -> None:
        self._box = box

    def write(self, directory: Path) -> None:
        """See ``Account``: an empty directory."""
        directory.mkdir(parents=True, exist_ok=True)

    def send(self, body: str) -> None:
        """See ``Account``."""
        self._box.publish_bytes(body.encode(), self.queue)

    def waiting(self) -> int:
        """See ``Account``."""
        return len(self._box.waiting(self.queue))

    def look(self) -> list[Seen]:
        """See ``Account``."""
        folder = self._box.queues / self.queue
        counts = self._box.queues / ".studio-runner" / self.queue / "received"
        return [Seen(one.read_text(), (counts / one.name).exists()) for one in folder.iterdir()]

    def take_back(self, daemon: Suspended) -> None:
        """See ``Account``: what another runner does with a claim that beats no more."""
        with daemon():
            (claim,) = (self._box.queues / ".studio-runner" / self.queue / "claims").iterdir()
            claim.rename(self._box.queues / self.queue / claim.name.partition("~")[0])

    def theirs(self) -> list[int]:
        """See ``Account``: there is none."""
        return [0]


class SqsAccount:
    """An account of Amazon's, as moto plays it."""

    variables = _NO_VARIABLES

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

    def look(self) -> list[Seen]:
        """See ``Account``."""
        return [
            Seen(one["Body"], int(one["Attributes"]["ApproximateReceiveCount"]) > 1)
            for one in self.sqs.all_in(self.queue)
        ]

    def take_back(self, daemon: Suspended) -> None:
        """See ``Account``: after a lease."""
        with daemon():
            until(lambda: self.waiting() or None, "the message's return")

    def theirs(self) -> list[int]:
        """See ``Account``: our own look is one of them."""
        found = self.sqs.all_in(self.other)
        return [int(one["Attributes"]["ApproximateReceiveCount"]) - 1 for one in found]

    def _count(self, name: str) -> int:
        url = self.sqs.url(self.queue)
        told = self.sqs.ask("get_queue_attributes", QueueUrl=url, AttributeNames=[name])
        return int(told["Attributes"][name])


class RabbitAccount:
    """A user of a real RabbitMQ."""

    variables = _NO_VARIABLES

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self.queue, self.other = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("rmq", "theirs"))
        server.declare(self.queue)
        server.declare(self.other)
        self._publish(self.other, '{"not": "yours"}')
        self._user = server.user("first-password")
        self._writes = 0

    def write(self, directory: Path) -> None:
        """See ``Account``."""
        self._writes += 1
        directory.mkdir(parents=True, exist_ok=True)
        password = f"password-number-{self._writes}"
        self.server.set_password(self._user, password)
        file = directory / "url"
        file.touch(0o600)
        file.write_text(
            f"{self.server.url_for(self._user, password)}\n{self.server.management_url}\n"
        )

    def send(self, body: str) -> None:
        """See ``Account``."""
        self._publish(self.queue, body)

    def waiting(self) -> int:
        """See ``Account``: the management interface tells late, so we look at the queue."""
        return len(self._get(self.queue))

    def look(self) -> list[Seen]:
        """See ``Account``: a parked message comes back as a new one, so nothing is told."""
        return [Seen(one["payload"], None) for one in self._get(self.queue)]

    def take_back(self, daemon: Suspended) -> None:
        """See ``Account``: an operator closes its connections."""
        del daemon
        self.server.close_connections(self._user)

    def theirs(self) -> list[int]:
        """See ``Account``: a message that was handed out and came back says so."""
        return [int(one["redelivered"]) for one in self._get(self.other)]

    def _publish(self, queue: str, body: str) -> None:
        what = {"payload": body, "payload_encoding": "string", "properties": {}}
        key = {"routing_key": f"StudioML.{queue}"}
        self.server.ask("POST", "exchanges/%2F/StudioML.topic/publish", {**what, **key})

    def _get(self, queue: str) -> list[dict[str, Any]]:
        wanted = {"count": 9, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return list(self.server.ask("POST", f"queues/%2F/{queue}/get", wanted))


class PubsubAccount:
    """A project of Google's emulator; every subscription of a project is taken."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self.project, self.queue = new_project(), f"sub-{uuid.uuid4().hex[:8]}_sub"
        self.variables: Mapping[str, str] = {"PUBSUB_EMULATOR_HOST": server.address}
        # What a daemon held that is no more comes back after the least that Google allows.
        server.create(self.project, self.queue, ackDeadlineSeconds=10)
        self._writes = 0

    def write(self, directory: Path) -> None:
        """See ``Account``."""
        self._writes += 1
        directory.mkdir(parents=True, exist_ok=True)
        key = json.loads((_EXAMPLES / "google" / "lab" / "key.json").read_text())
        key |= {"project_id": self.project, "private_key_id": f"{self._writes:040}"}
        file = directory / "key.json"
        file.touch(0o600)
        file.write_text(json.dumps(key))

    def send(self, body: str) -> None:
        """See ``Account``."""
        data = base64.b64encode(body.encode()).decode()
        topic = topic_path(self.project, self.queue)
        self.server.ask("POST", f"{topic}:publish", {"messages": [{"data": data}]})

    def waiting(self) -> int:
        """See ``Account``."""
        return len(self.look())

    def look(self) -> list[Seen]:
        """See ``Account``: without a dead-letter policy nobody counts."""
        path = subscription_path(self.project, self.queue)
        wanted = {"maxMessages": 9, "returnImmediately": True}
        found = self.server.ask("POST", f"{path}:pull", wanted).get("receivedMessages", [])
        if found:
            back = {"ackIds": [one["ackId"] for one in found], "ackDeadlineSeconds": 0}
            self.server.ask("POST", f"{path}:modifyAckDeadline", back)
        return [Seen(base64.b64decode(one["message"]["data"]).decode(), None) for one in found]

    def take_back(self, daemon: Suspended) -> None:
        """See ``Account``: after a lease."""
        with daemon():
            until(lambda: self.waiting() or None, "the message's return")

    def theirs(self) -> list[int]:
        """See ``Account``: there is none."""
        return [0]
