"""An operator's day: credentials come into a running daemon's directory, change, and go."""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import anyio
import pytest

from runner.control.client import ask
from tests.acceptance.box import PATIENCE, Box, until
from tests.servers.moto_sqs import Sqs
from tests.servers.pubsub import (
    Emulator,
    new_project,
    pubsub_emulator,
    subscription_path,
    topic_path,
)
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server

__all__ = ["pubsub_emulator"]

pytestmark = pytest.mark.anyio

_EXAMPLES = Path(__file__).parents[2] / "certs.example"

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""


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

    def theirs(self) -> list[int]:
        """Return how often each message of the other queue was handed out."""


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


class RabbitAccount:
    """A user of a real RabbitMQ."""

    variables: Mapping[str, str] = MappingProxyType({})

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
        return len(self._look(self.queue))

    def theirs(self) -> list[int]:
        """See ``Account``: a message that was handed out and came back says so."""
        return [int(one["redelivered"]) for one in self._look(self.other)]

    def _publish(self, queue: str, body: str) -> None:
        what = {"payload": body, "payload_encoding": "string", "properties": {}}
        key = {"routing_key": f"StudioML.{queue}"}
        self.server.ask("POST", "exchanges/%2F/StudioML.topic/publish", {**what, **key})

    def _look(self, queue: str) -> list[dict[str, bool]]:
        wanted = {"count": 9, "ackmode": "ack_requeue_true", "encoding": "auto"}
        return list(self.server.ask("POST", f"queues/%2F/{queue}/get", wanted))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


class PubsubAccount:
    """A project of Google's emulator; every subscription of a project is taken."""

    def __init__(self, server: Emulator) -> None:
        self.server = server
        self.project, self.queue = new_project(), f"sub-{uuid.uuid4().hex[:8]}_sub"
        self.variables: Mapping[str, str] = {"PUBSUB_EMULATOR_HOST": server.address}
        server.create(self.project, self.queue)
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


class Operator:
    """A running daemon and the directory that it watches."""

    def __init__(self, box: Box, variables: Mapping[str, str], match: str = "") -> None:
        """``match``: of which queues alone; a server may have what other tests have left."""
        self._match = ["--queue-match", match] if match else []
        self.box = box
        self.certs = box.root / "certs"
        self.certs.mkdir(mode=0o700)
        self._variables = variables
        self._starts = 0
        self._queues = set[str]()
        self.start()

    def start(self) -> None:
        """Start a daemon."""
        self._starts += 1
        self.daemon = self.box.start(
            *("--certs-dir", str(self.certs)),
            *("--lease", "6s"),
            *("--queue-refresh", "1s"),
            "--allow-file-artifacts",
            *self._match,
            variables=self._variables,
        )
        self.sees("waiting for experiments", self._starts)

    def put(self, account: Account, name: str = "lab") -> None:
        """Copy a credential into the directory, or another one over it."""
        self._queues.add(account.queue)
        draft = self.box.root / "draft"
        account.write(draft)
        shutil.copytree(draft, self.certs / name, dirs_exist_ok=True)
        shutil.rmtree(draft)

    def take(self, name: str = "lab") -> None:
        """Remove it."""
        shutil.rmtree(self.certs / name)

    def send(self, account: Account, script: str = "print('x')") -> str:
        """Send an experiment through the account's queue."""
        message = self.box.message(script)
        key = str(message["experiment"]["key"])
        status = self.box.root / "store" / "meta" / "experiments" / key
        status.write_text(json.dumps(message["experiment"]))
        account.send(json.dumps(message))
        return key

    def sees(self, text: str, times: int = 1) -> None:
        """Wait until the log says it so often."""
        until(lambda: self.box.log().count(text) >= times or None, text, self.box.log)

    async def queues(self) -> list[str]:
        """Return what the daemon takes from."""
        async for item in ask(self.box.state / "control.sock", "status"):
            return sorted(queue["name"] for queue in item["daemon"]["queues"])
        raise AssertionError("no status")

    async def takes_from(self, *names: str) -> None:
        """Wait until of the accounts' queues the daemon takes from exactly these.

        A server may have further ones, which other tests have left.
        """
        with anyio.fail_after(PATIENCE):
            # Another process tells it when it is asked.
            while set(await self.queues()) & self._queues != set(names):  # noqa: ASYNC110
                await anyio.sleep(0.05)


class OperatorsDay:
    """What every kind of credential does."""

    @pytest.fixture
    def account(self) -> Account:
        """Return an account."""
        raise NotImplementedError

    @pytest.fixture
    def operator(self, box: Box, account: Account) -> Operator:
        """Start a daemon with an empty directory of credentials."""
        return Operator(box, account.variables, f"^(local|{account.queue})")

    async def test_work_starts_with_a_credential_and_stops_with_it(
        self, operator: Operator, account: Account
    ) -> None:
        """Dropped in by a copy it brings queues, removed it takes them; nothing else is touched."""
        first = operator.send(account)
        operator.put(account)
        assert operator.box.outcome(first)["cause"] == "completed"
        await operator.takes_from(account.queue)
        operator.take()
        await operator.takes_from()
        operator.sees("broker closed")
        operator.send(account)
        until(lambda: account.waiting() == 1 or None, "a message that nobody takes")
        assert account.theirs() == [0]
        operator.put(account)
        until(lambda: len(operator.box.settled()) == 2 or None, "the second one", operator.box.log)
        operator.box.wait_until_clean()
        assert operator.box.complaints() == []
        assert operator.box.drain(operator.daemon) == 0
        for secret in ("a-very-secret-value", "password-number"):
            assert secret not in operator.box.log()

    async def test_a_rotation_with_an_experiment_running_loses_nothing(
        self, operator: Operator, account: Account
    ) -> None:
        """The run keeps its message for leases, another comes, and both are settled once."""
        operator.put(account)
        long = operator.send(account, GO.format(go=str(operator.box.root / "go")))
        until(lambda: "begun" in operator.box.live_output() or None, "a run", operator.box.log)
        operator.put(account)
        operator.sees("credential renewed")
        short = operator.send(account)
        assert operator.box.outcome(short)["cause"] == "completed"
        await anyio.sleep(8)  # longer than a lease
        (operator.box.root / "go").touch()
        outcome = operator.box.outcome(long)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
        operator.box.wait_until_clean()
        assert [one["settled"] for one in operator.box.settled()] == ["acked", "acked"]
        assert account.waiting() == 0
        assert operator.box.complaints() == []

    async def test_the_next_daemon_takes_over_run_and_message(
        self, operator: Operator, account: Account
    ) -> None:
        """The first one was killed: nobody else gets the message, and the run goes on."""
        operator.put(account)
        key = operator.send(account, GO.format(go=str(operator.box.root / "go")))
        until(lambda: "begun" in operator.box.live_output() or None, "a run", operator.box.log)
        operator.box.kill(operator.daemon)
        operator.start()
        operator.sees("adopted")
        await anyio.sleep(8)  # longer than a lease
        (operator.box.root / "go").touch()
        outcome = operator.box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
        operator.box.wait_until_clean()
        assert operator.box.settled()[0]["settled"] == "acked"
        assert account.waiting() == 0
        assert operator.box.complaints() == []

    async def test_a_credential_that_went_while_no_daemon_ran_costs_no_run(
        self, operator: Operator, account: Account
    ) -> None:
        """The run finishes and uploads; its message is left to expire, to a record that ended."""
        operator.put(account)
        key = operator.send(account, GO.format(go=str(operator.box.root / "go")))
        until(lambda: "begun" in operator.box.live_output() or None, "a run", operator.box.log)
        operator.box.kill(operator.daemon)
        operator.take()
        operator.start()
        operator.sees("its queue is not served")
        (operator.box.root / "go").touch()
        outcome = operator.box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
        assert operator.box.output(key) == "begun\ndone\n"
        operator.box.wait_until_clean()
        operator.put(account)
        until(lambda: len(operator.box.settled()) == 2 or None, "its message", operator.box.log)
        assert operator.box.settled()[1]["cause"] == "not-ours"
        assert operator.box.settled()[1]["settled"] == "acked"
        assert operator.box.complaints() == []

    async def test_a_mount_that_is_swapped_is_a_rotation(
        self, operator: Operator, account: Account
    ) -> None:
        """As Kubernetes does it: links into a hidden directory, which is exchanged in one step."""
        place = operator.certs / "lab"
        place.mkdir()
        for number, key in enumerate(("begun", "swapped")):
            account.write(place / f"..2026_{number}")
            (place / "..data_new").symlink_to(f"..2026_{number}")
            (place / "..data_new").rename(place / "..data")
            for file in (place / f"..2026_{number}").iterdir():
                link = place / file.name
                link.unlink(missing_ok=True)
                link.symlink_to(f"..data/{file.name}")
            shutil.rmtree(place / f"..2026_{number - 1}", ignore_errors=True)
            operator.sees("credential found" if key == "begun" else "credential renewed")
            assert operator.box.outcome(operator.send(account))["cause"] == "completed"
        assert operator.box.log().count("credential found") == 1
        assert "credential gone" not in operator.box.log()
        assert operator.box.complaints() == []

    async def test_a_credential_that_goes_leaves_its_run_to_finish(
        self, operator: Operator, account: Account
    ) -> None:
        """The message is kept until then, and settled; then the broker is closed."""
        operator.put(account)
        key = operator.send(account, GO.format(go=str(operator.box.root / "go")))
        until(lambda: "begun" in operator.box.live_output() or None, "a run", operator.box.log)
        operator.take()
        await operator.takes_from()
        await anyio.sleep(8)  # longer than a lease
        assert "broker closed" not in operator.box.log()
        (operator.box.root / "go").touch()
        outcome = operator.box.outcome(key)
        assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
        operator.sees("broker closed")
        assert [one["settled"] for one in operator.box.settled()] == ["acked"]
        assert account.waiting() == 0


@pytest.mark.service("sqs")
class TestSqs(OperatorsDay):
    """With Amazon's queues."""

    @pytest.fixture
    def account(self, moto_server: S3Server) -> Account:
        """Return an account of moto's."""
        return SqsAccount(moto_server)


@pytest.mark.service("rabbitmq")
class TestRabbit(OperatorsDay):
    """With a real RabbitMQ."""

    @pytest.fixture
    def account(self, rabbit_server: RabbitServer) -> Account:
        """Return a user of it."""
        return RabbitAccount(rabbit_server)


@pytest.mark.service("pubsub")
class TestPubsub(OperatorsDay):
    """With Google's emulator."""

    @pytest.fixture
    def account(self, pubsub_emulator: Emulator) -> Account:
        """Return a project of it."""
        return PubsubAccount(pubsub_emulator)
