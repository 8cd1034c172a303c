"""The commands with queues elsewhere: the same story on each broker, with no daemon about."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from runner.cli.queues import Access
from runner.queues.addresses import parse
from runner.queues.base import Queue
from runner.settings import Settings
from tests.cli.conftest import Desk
from tests.servers.canned_sqs import canned_sqs, refused, said
from tests.servers.moto_sqs import Sqs
from tests.servers.pubsub import FakeServer, new_project
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server


@dataclass(frozen=True)
class Broker:
    """A server, one queue of it that a daemon would take, and what lies in the certs directory."""

    name: str
    #: As ``queue list`` writes it.
    address: str
    #: Another way to say the same.
    otherwise: str
    credential: str
    counts: bool
    peeking_costs: bool
    #: How many a purge removes of one, as the broker tells.
    purged: int | None


@pytest.fixture
def sqs(desk: Desk, moto_server: S3Server) -> Broker:
    """Lay an AWS profile into the certs directory, and make a queue."""
    server = Sqs(moto_server.endpoint)
    own = server.credential
    place = desk.root / "certs/aws/lab"
    place.mkdir(parents=True)
    (place / "credentials").write_text(
        f"[default]\naws_access_key_id = {own.access_key}\naws_secret_access_key = {'secret' * 7}\n"
    )
    (place / "config").write_text(
        f"[default]\nregion = {own.region}\nendpoint_url = {server.endpoint}\n"
    )
    name = f"sqs_{uuid.uuid4().hex[:8]}"
    url = server.create(name)
    address = f"sqs://{own.region}/{name}"
    return Broker(name, address, url, "lab", counts=True, peeking_costs=True, purged=None)


@pytest.fixture
def rabbitmq(desk: Desk, rabbit_server: RabbitServer) -> Broker:
    """Lay a URL into the certs directory, and declare a queue as the client does."""
    place = desk.root / "certs/rabbitmq/lab"
    place.mkdir(parents=True)
    (place / "url").write_text(f"{rabbit_server.url}\n{rabbit_server.management_url}\n")
    name = f"rmq_{uuid.uuid4().hex[:8]}"
    rabbit_server.declare(name)
    address = f"amqp://127.0.0.1:{rabbit_server.port}/%2F?{name}"
    otherwise = f"rabbitmq://{name}"
    return Broker(name, address, otherwise, "lab", counts=True, peeking_costs=True, purged=1)


@pytest.fixture
def pubsub(desk: Desk, pubsub_fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Lay a key file into the certs directory, and make topic and subscription."""
    project = new_project()
    place = desk.root / "certs/google"
    place.mkdir(parents=True)
    (place / "key.json").write_text(json.dumps({"project_id": project}))
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_fake.address)
    name = f"training-{uuid.uuid4().hex[:8]}_sub"
    pubsub_fake.create(project, name)
    otherwise = f"projects/{project}/subscriptions/{name}"
    address = f"pubsub://{project}/{name}"
    return Broker(name, address, otherwise, "key.json", counts=False, peeking_costs=True, purged=1)


def submit(desk: Desk, queue: str, key: str, *more: str) -> tuple[int, str, str]:
    """Submit with a directory that other machines are said to see."""
    store = ("--store", str(desk.store))
    return desk.run("submit", "--queue", queue, *store, "--key", key, *more, "train.py")


def on(desk: Desk, address: str, act: Callable[[Queue], Awaitable[Any]]) -> None:
    """Do something with a queue as a runner on this machine would."""
    environ = {"STATE_DIR": str(desk.root / "state"), "CERTS_DIR": str(desk.root / "certs")}
    settings = Settings.load([], environ)

    async def go() -> None:
        async with Access(settings, environ).queue(parse(address)) as queue:
            with anyio.fail_after(60):
                await act(queue)

    anyio.run(go)


class Story:
    """What the commands do with a queue elsewhere."""

    @pytest.fixture
    def broker(self) -> Broker:
        """Return the broker."""
        raise NotImplementedError

    def test_what_is_submitted_is_listed_and_seen(self, desk: Desk, broker: Broker) -> None:
        """Listed with its credential and as taken; what looking does is said before the look."""
        status, out, err = submit(desk, broker.otherwise, "k1")
        assert not status, err
        assert (status, out) == (0, "k1\n")
        assert "--allow-file-artifacts" in err
        assert f"queued k1 in {parse(broker.otherwise)}" in err

        status, out, err = desk.run("queue", "list", "--json")
        assert (status, err) == (0, "")
        [row] = [one for one in json.loads(out) if one["queue"] == broker.address]
        assert broker.credential in row["credential"]
        assert row["waiting"] == (1 if broker.counts else None)
        assert row["taken"] == "yes"

        status, out, err = desk.run("queue", "peek", broker.address, "--json")
        assert status == 0
        [message] = json.loads(out)
        assert (message["key"], message["script"]) == ("k1", "train.py")
        assert message["queue"] == broker.address
        assert bool(err) == broker.peeking_costs
        assert not err or err.startswith(f"{broker.address}: ")

    def test_dead_letters_come_back(self, desk: Desk, broker: Broker) -> None:
        """They are shown with the reason, and requeued by id, or all of them."""
        for key in ("k1", "k2"):
            assert submit(desk, broker.address, key)[0] == 0

        async def bury(queue: Queue) -> None:
            for _ in range(2):
                delivery = await queue.receive()
                await delivery.bury("no such thing: password=topsecret")

        on(desk, broker.address, bury)
        status, out, _ = desk.run("queue", "dead", broker.address, "--json")
        assert status == 0
        letters = {one["key"]: one for one in json.loads(out)}
        assert set(letters) == {"k1", "k2"}
        assert letters["k1"]["reason"] == "no such thing: password=***"
        argv = ["queue", "requeue", broker.address, letters["k2"]["id"]]
        assert desk.run(*argv)[:2] == (0, f"1 requeued in {broker.address}\n")
        assert desk.run(*argv)[0] == 1
        assert desk.run("queue", "requeue", broker.address, "--all")[0] == 0
        assert json.loads(desk.run("queue", "dead", broker.address, "--json")[1]) == []

        keys = set()

        async def take(queue: Queue) -> None:
            for _ in range(2):
                delivery = await queue.receive()
                keys.add(json.loads(delivery.message.body)["experiment"]["key"])
                await delivery.ack()

        on(desk, broker.address, take)
        assert keys == {"k1", "k2"}

    def test_a_purge_leaves_nothing(self, desk: Desk, broker: Broker) -> None:
        """The queue's short name confirms it; not every broker says how many there were."""
        assert submit(desk, broker.address, "k1")[0] == 0
        assert desk.run("queue", "purge", broker.address, "--yes", broker.address)[0] == 2
        argv = ["queue", "purge", broker.address, "--yes", broker.name, "--json"]
        status, out, _ = desk.run(*argv)
        assert status == 0
        assert json.loads(out) == {"queue": broker.address, "removed": broker.purged}
        assert json.loads(desk.run("queue", "peek", broker.address, "--json")[1]) == []

    def test_what_a_daemon_would_leave_is_listed_as_left(self, desk: Desk, broker: Broker) -> None:
        """The same patterns, the same answer; a submission says that others have to take it."""
        _, out, _ = desk.run("queue", "list", "--queue-match", "^nothing$", "--json")
        [row] = [one for one in json.loads(out) if one["queue"] == broker.address]
        assert row["taken"] == "no"
        err = submit(desk, broker.address, "k1", "--queue-match", "^nothing$")[2]
        assert f"leave {broker.address} to others" in err

    def test_one_that_does_not_answer_hides_no_other(self, desk: Desk, broker: Broker) -> None:
        """Its trouble is one sentence with its credential's name; the rest is listed; status 1."""
        place = desk.root / "certs/rabbitmq/down"
        place.mkdir(parents=True)
        (place / "url").write_text("amqp://me:hunter22@127.0.0.1:9/gone\n")
        (desk.root / "certs/bad.json").write_text('{"project_id": 3}')
        status, out, err = desk.run("queue", "list", "--json")
        assert status == 1
        assert broker.address in {one["queue"] for one in json.loads(out)}
        assert "down" in err
        assert "bad.json" in err
        assert "hunter22" not in err
        assert "Traceback" not in err


@pytest.mark.service("sqs")
class TestSqs(Story):
    """With SQS."""

    @pytest.fixture
    def broker(self, sqs: Broker) -> Broker:
        """Return it."""
        return sqs


@pytest.mark.service("rabbitmq")
class TestRabbitmq(Story):
    """With RabbitMQ."""

    @pytest.fixture
    def broker(self, rabbitmq: Broker) -> Broker:
        """Return it."""
        return rabbitmq


class TestPubsub(Story):
    """With the fake of Pub/Sub."""

    @pytest.fixture
    def broker(self, pubsub: Broker) -> Broker:
        """Return it."""
        return pubsub


@pytest.mark.service("sqs")
def test_a_queue_of_amazon_needs_no_certs(
    desk: Desk, sqs: Broker, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's keys open a queue by name and by URL; one that is not there is made."""
    own = Sqs(moto_server.endpoint).credential
    (desk.root / "certs").rename(desk.root / "elsewhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", own.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own.secret_key.reveal())
    monkeypatch.setenv("AWS_REGION", own.region)
    assert submit(desk, sqs.otherwise, "k1")[0] == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.endpoint)
    assert submit(desk, f"sqs://{sqs.name}", "k2")[0] == 0
    found = json.loads(desk.run("queue", "peek", f"sqs://{sqs.name}", "--json")[1])
    assert {one["key"] for one in found} == {"k1", "k2"}
    fresh = f"sqs://sqs_{uuid.uuid4().hex[:8]}"
    assert submit(desk, fresh, "k3")[0] == 0
    assert len(json.loads(desk.run("queue", "peek", fresh, "--json")[1])) == 1


@pytest.mark.parametrize("action", ["list", "peek", "dead", "purge", "submit"])
def test_a_namesake_in_another_account_is_left_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """An address with an account means that account: ours is not read, written or emptied."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a-key-of-the-environment")
    with canned_sqs() as server:
        own, other = server.queue("sqs_x"), f"{server.url}/999999999999/sqs_x"
        gone = refused("QueueDoesNotExist", query="AWS.SimpleQueueService.NonExistentQueue")
        server.always("ListQueues", said(QueueUrls=[own]))
        server.always("GetQueueUrl", said(QueueUrl=own))
        server.always("GetQueueAttributes", gone)
        if action == "submit":
            status, _, err = submit(desk, other, "k1")
        else:
            status, _, err = desk.run("queue", action, other, "--yes", "sqs_x")
        assert status == 1
        assert f"there is no queue {other}" in err
        assert {words.get("QueueUrl") for _, words in server.asked} <= {None, other}


@pytest.mark.service("rabbitmq")
def test_a_url_opens_its_broker(desk: Desk, rabbitmq: Broker, rabbit_server: RabbitServer) -> None:
    """User and password in it are used, warned of, and never shown."""
    (desk.root / "certs").rename(desk.root / "elsewhere")
    user = rabbit_server.user("hunter22")
    url = rabbit_server.url_for(user, "hunter22")
    status, _, err = submit(desk, f"{url}?{rabbitmq.name}", "k1")
    assert status == 0
    assert "note: the password in --queue" in err
    assert "hunter22" not in err
    found = desk.run("queue", "list", f"{url}?{rabbitmq.name}", "--json")[1]
    assert json.loads(found)[0]["waiting"] == 1
    assert desk.run("queue", "peek", rabbitmq.address, "--json")[0] == 0  # guest's turn
    wrong = rabbit_server.url_for(user, "hunter23")
    status, _, err = submit(desk, f"{wrong}?{rabbitmq.name}", "k2")
    assert status == 1
    assert "hunter23" not in err


@pytest.mark.service("s3", "rabbitmq")
def test_an_experiment_elsewhere_is_looked_after_through_its_bucket(
    desk: Desk,
    rabbitmq: Broker,
    seaweed_server: S3Server,
    seaweed_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Submitted to a broker with a bucket: status, and cancel as the StudioML client does it."""
    keys = seaweed_server.admin
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key.reveal())
    host = seaweed_server.endpoint.partition("//")[2]
    with seaweed_server.bucket() as records:
        config = desk.root / "config.yaml"
        config.write_text(f"store: s3://{host}/{seaweed_bucket}\nstore-records: {records}\n")
        chosen = ["--config", str(config)]
        argv = ["submit", *chosen, "--queue", rabbitmq.otherwise, "--key", "k1", "train.py"]
        status, out, err = desk.run(*argv)
        assert (status, out) == (0, "k1\n")
        assert "--allow-file-artifacts" not in err
        assert "waiting for a runner" in desk.run("status", *chosen, "k1")[1]
        assert desk.run("cancel", *chosen, "k1")[0] == 0
        assert "to be stopped" in desk.run("status", *chosen, "k1")[1]
        record = json.loads(seaweed_server.get(records, "experiments/k1"))
        assert record["status"] == "stopped"


@pytest.mark.service("sqs")
def test_a_queue_named_beside_its_credential_is_taken(desk: Desk, sqs: Broker) -> None:
    """Whatever the patterns say: the daemon reads the same file."""
    (desk.root / "certs/aws/lab/queues").write_text(f"{sqs.name}\n")
    status, _, err = submit(desk, sqs.address, "k1", "--queue-match", "^nothing$")
    assert (status, "to others" in err) == (0, False)


@pytest.mark.service("sqs")
def test_a_queue_that_was_not_there_is_told_of(desk: Desk, sqs: Broker) -> None:
    """Its name may be a slip of the hand: nobody takes from such a queue."""
    assert "it was made" not in submit(desk, sqs.address, "k1")[2]
    status, _, err = submit(desk, f"{sqs.address}x", "k2")
    assert (status, "there was no such queue: it was made" in err) == (0, True)
