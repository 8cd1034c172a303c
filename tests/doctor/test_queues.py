"""Queues are asked for all that can be asked without taking anybody's message."""

from __future__ import annotations

import uuid

import pytest

from runner.doctor import queues
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic
from tests.servers.canned_sqs import canned_sqs, refused, said
from tests.servers.moto_sqs import Sqs
from tests.servers.pubsub import FakeServer, new_project, subscription_path
from tests.servers.rabbitmq import RabbitServer
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.anyio

PASSWORD = "a password of the test"


async def test_local_queues_are_counted_and_nothing_is_made(clinic: Clinic) -> None:
    """A root that is not there yet stays so."""
    found = await clinic.look(queues.look, await clinic.patient())
    assert found.about("local").verdict is Verdict.OK
    assert not (clinic.root / "queues").exists()
    for name in ("local_a", "theirs"):
        (clinic.root / "queues" / name).mkdir(parents=True)
    found = await clinic.look(queues.look, await clinic.patient())
    assert "1 queues are taken, 1 left" in found.about("local").sentence
    made = [path.name for path in (clinic.root / "queues").iterdir()]
    assert sorted(made) == ["local_a", "theirs"]


async def test_queues_of_which_none_is_taken_are_a_warning(clinic: Clinic) -> None:
    """With the option that would take them."""
    (clinic.root / "queues" / "theirs").mkdir(parents=True)
    told = (await clinic.look(queues.look, await clinic.patient())).about("local")
    assert told.verdict is Verdict.WARNING
    assert "--queue-match" in told.sentence + told.remedy


async def test_a_broker_that_is_not_there_fails_alone(clinic: Clinic) -> None:
    """The account is named, and local queues are told of all the same."""
    clinic.aws("http://127.0.0.1:1")
    found = await clinic.look(queues.look, await clinic.patient())
    assert found.about("sqs lab").verdict is Verdict.FAILED
    assert found.about("local").verdict is Verdict.OK


@pytest.mark.service("sqs")
async def test_no_receive_is_counted(clinic: Clinic, moto_server: S3Server) -> None:
    """Looking at a queue leaves its messages as they were, and says how many there are."""
    sqs = Sqs(f"http://127.0.0.1:{moto_server.port}")
    name = f"sqs_{uuid.uuid4().hex[:8]}"
    sqs.create(name)
    sqs.send(name, "{}")
    clinic.aws(sqs.endpoint)
    patient = await clinic.patient("--queue-match", f"^{name}$")
    found = await clinic.look(queues.look, patient)
    told = found.about(name)
    assert told.verdict is Verdict.OK
    assert "1 messages wait" in told.sentence
    assert "sqs:ReceiveMessage" in told.sentence
    (message,) = sqs.all_in(name)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


async def test_each_right_that_amazon_refuses_is_named(clinic: Clinic) -> None:
    """A queue that can be listed and not settled is found out before a message is held."""
    with canned_sqs() as sqs:
        clinic.aws(sqs.url)
        sqs.always("ListQueues", said(QueueUrls=[sqs.queue("sqs_a")]))
        sqs.always("GetQueueAttributes", said(Attributes={"ApproximateNumberOfMessages": "2"}))
        sqs.always("ChangeMessageVisibility", refused("ReceiptHandleIsInvalid"))
        sqs.always("DeleteMessage", refused("AccessDenied", status=403))
        found = await clinic.look(queues.look, await clinic.patient())
        told = found.about("sqs_a")
        assert told.verdict is Verdict.FAILED
        assert "sqs:DeleteMessage" in told.sentence
        assert "ChangeMessageVisibility" not in told.sentence
        sqs.always("ListQueues", refused("AccessDenied", status=403))
        found = await clinic.look(queues.look, await clinic.patient())
        assert "sqs:ListQueues" in found.about("sqs lab").sentence
        assert sqs.count("ReceiveMessage") == 0


async def test_each_permission_that_google_denies_is_named(
    clinic: Clinic, pubsub_fake: FakeServer
) -> None:
    """They are asked for, not tried: nothing is pulled."""
    project, environ = new_project(), {"PUBSUB_EMULATOR_HOST": pubsub_fake.address}
    for name in ("well_sub", "denied_sub"):
        pubsub_fake.create(project, name)
    pubsub_fake.ask(
        "deny",
        resource=subscription_path(project, "denied_sub"),
        permission="pubsub.subscriptions.consume",
    )
    before = pubsub_fake.stats()["calls"].get("Pull", 0)
    argv = ("--ambient-credentials", "google", "--google-project", project)
    patient = await clinic.patient(*argv, environ=environ)
    found = await clinic.look(queues.look, patient)
    assert found.about("well_sub").verdict is Verdict.OK
    denied = found.about("denied_sub")
    assert denied.verdict is Verdict.FAILED
    assert "pubsub.subscriptions.consume" in denied.sentence
    with pubsub_fake.failing(project, "TestIamPermissions", status="UNIMPLEMENTED"):
        found = await clinic.look(queues.look, patient)
    assert "shows when the first one" in found.about("denied_sub").sentence
    assert pubsub_fake.stats()["calls"].get("Pull", 0) == before


@pytest.mark.service("rabbitmq")
async def test_each_right_that_rabbitmq_refuses_is_named(
    clinic: Clinic, rabbit_server: RabbitServer
) -> None:
    """By asking for what is granted to nobody: no message is touched, no queue is made."""
    name = f"rmq_{uuid.uuid4().hex[:8]}"
    rabbit_server.declare(name)
    rabbit_server.ask(
        "POST",
        "exchanges/%2F/amq.default/publish",
        {"properties": {}, "routing_key": name, "payload": "{}", "payload_encoding": "string"},
    )
    users = {
        "well": rabbit_server.user(PASSWORD),
        "blind": rabbit_server.user(PASSWORD, read="^studio-runner"),
        "lame": rabbit_server.user(PASSWORD, configure="^$"),
    }
    try:
        for role, user in users.items():
            url = rabbit_server.url_for(user, PASSWORD)
            argv = ("--amqp-url", url, "--amqp-mgt-url", rabbit_server.management_url)
            patient = await clinic.patient(*argv, "--queue-match", f"^{name}$")
            told = (await clinic.look(queues.look, patient)).about(name)
            assert (role, told.verdict) == (role, EXPECTED[role]), told
            assert PASSWORD not in told.sentence
            if role != "well":
                assert "refused for user" in told.sentence
        kept = rabbit_server.ask(
            "POST",
            f"queues/%2F/{name}/get",
            {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"},
        )
        assert [message["redelivered"] for message in kept] == [False]
        assert not [one for one in rabbit_server.queues() if one.startswith("studio-runner.trial.")]
    finally:
        rabbit_server.delete(name)


EXPECTED = {"well": Verdict.OK, "blind": Verdict.FAILED, "lame": Verdict.WARNING}


@pytest.mark.service("rabbitmq")
async def test_a_wrong_password_is_told_with_its_credential(
    clinic: Clinic, rabbit_server: RabbitServer
) -> None:
    """The doctor stops at the account: nobody asks for its queues."""
    user = rabbit_server.user(PASSWORD)
    clinic.certs("lab", url=rabbit_server.url_for(user, "another one") + "\n")
    argv = ("--amqp-mgt-url", rabbit_server.management_url)
    found = await clinic.look(queues.look, await clinic.patient(*argv))
    (told,) = [one for one in found.findings if one.about.startswith("rabbitmq")]
    assert told.verdict is Verdict.FAILED
    assert "another one" not in told.sentence
