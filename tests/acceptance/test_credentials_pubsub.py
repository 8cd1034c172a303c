"""An operator's day with Google's emulator of Pub/Sub."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.operators_day import Account, OperatorsDay
from tests.servers.pubsub import Emulator, new_project, subscription_path, topic_path

pytestmark = pytest.mark.anyio

_EXAMPLES = Path(__file__).parents[2] / "certs.example"


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
        path = subscription_path(self.project, self.queue)
        wanted = {"maxMessages": 9, "returnImmediately": True}
        found = self.server.ask("POST", f"{path}:pull", wanted).get("receivedMessages", [])
        if found:
            back = {"ackIds": [one["ackId"] for one in found], "ackDeadlineSeconds": 0}
            self.server.ask("POST", f"{path}:modifyAckDeadline", back)
        return len(found)

    def theirs(self) -> list[int]:
        """See ``Account``: there is none."""
        return [0]


@pytest.mark.service("pubsub")
class TestPubsub(OperatorsDay):
    """With Google's emulator."""

    @pytest.fixture
    def account(self, pubsub_emulator: Emulator) -> Account:
        """Return a project of it."""
        return PubsubAccount(pubsub_emulator)
