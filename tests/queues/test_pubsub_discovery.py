"""Which subscriptions are taken, and what their absence means."""

from __future__ import annotations

import re
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from runner.errors import Misconfigured, QueueDenied, QueueGone, QueueUnavailable
from runner.queues.choice import Choice
from runner.queues.credential import AwsCredential
from runner.queues.pubsub import PubsubBroker
from tests.queues.pubsub_case import NAME, Project, anyio_backend, one_loop
from tests.servers.pubsub import FakeServer

__all__ = ["anyio_backend", "one_loop"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(pubsub_fake: FakeServer, tmp_path: Path) -> Project:
    """Return a new project on the fake."""
    return Project(pubsub_fake, tmp_path)


async def first(broker: PubsubBroker) -> frozenset[str]:
    """Return what the broker finds."""
    async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        with anyio.fail_after(30):
            return await anext(sets)


async def test_all_pages_are_read(project: Project, pubsub_fake: FakeServer) -> None:
    """A project may have more subscriptions than one answer holds."""
    expected = {f"queue{number}_sub" for number in range(7)}
    for name in expected:
        await project.create(name)
    pubsub_fake.ask("pages", size=3)
    try:
        async with project.broker() as broker:
            assert await first(broker) == expected
    finally:
        pubsub_fake.ask("pages", size=1000)


async def test_every_subscription_is_taken_but_responses(project: Project) -> None:
    """Without a pattern all are ours; what is left is told."""
    for name in ("anything", "q_sub", "q_response", "q_response_sub"):
        await project.create(name)
    async with project.broker() as broker:
        assert await first(broker) == {"anything", "q_sub"}
        assert broker.left == {"q_response", "q_response_sub"}


async def test_patterns_choose(project: Project) -> None:
    """``--queue-match`` and ``--queue-mismatch`` are looked for in the subscription's id."""
    for name in ("team-a_sub", "team-b_sub", "other_sub"):
        await project.create(name)
    async with project.broker(choice=Choice(re.compile("^team"), re.compile("-b"))) as broker:
        assert await first(broker) == {"team-a_sub"}
        assert broker.left == {"team-b_sub", "other_sub"}


async def test_what_is_pushed_elsewhere_is_left(project: Project) -> None:
    """A push subscription cannot be pulled, and is no trouble to anybody."""
    await project.create("pushed_sub", push_config={"push_endpoint": "https://example.com"})
    await project.create()
    async with project.broker() as broker:
        assert await first(broker) == {NAME}
        assert broker.left == {"pushed_sub"}


async def test_a_missing_right_to_list_is_named(project: Project, pubsub_fake: FakeServer) -> None:
    """The sentence says which right is missing where, and how to do without it."""
    with pubsub_fake.failing(project.project, "ListSubscriptions", status="PERMISSION_DENIED"):
        async with project.broker() as broker:
            with pytest.raises(QueueDenied) as caught:
                await first(broker)
    said = str(caught.value)
    assert "the credential lab/key.json may not list the subscriptions" in said
    assert f"pubsub.subscriptions.list on projects/{project.project} is missing" in said
    assert "--queue or in a 'queues' file" in said


async def test_named_queues_need_no_right_to_list(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """By id or path, in an option or beside the credential, and whatever the patterns say."""
    path = f"projects/{project.project}/subscriptions/second_sub"
    choice = Choice(re.compile("^nothing"), named=frozenset({NAME}))
    with pubsub_fake.failing(project.project, "ListSubscriptions", status="PERMISSION_DENIED"):
        async with project.broker(choice=choice, queues=(path,)) as broker:
            assert await first(broker) == {NAME, "second_sub"}


async def test_a_revoked_credential_is_said(project: Project, pubsub_fake: FakeServer) -> None:
    """Google's refusal is the operator's business, with the file's name."""
    with pubsub_fake.failing(project.project, "*", status="UNAUTHENTICATED", details="no longer"):
        async with project.broker() as broker:
            with pytest.raises(QueueDenied, match=r"refuses the credential lab/key.json: no long"):
                await first(broker)


async def test_only_a_definite_no_means_that_a_queue_is_gone(
    project: Project, pubsub_fake: FakeServer
) -> None:
    """A missing right, an outage, throttling or an unseen project say nothing about a queue."""
    answers = {
        "PERMISSION_DENIED": "not authorized",
        "UNAVAILABLE": "away",
        "RESOURCE_EXHAUSTED": "too many",
        "UNAUTHENTICATED": "revoked",
        "NOT_FOUND": f"Requested project not found (project={project.project})",
    }
    await project.create()
    async with project.broker() as broker:
        for status, details in answers.items():
            with (
                pubsub_fake.failing(project.project, "*", status=status, details=details),
                pytest.raises(QueueUnavailable),
            ):
                await broker.exists(NAME)
        assert await broker.exists(NAME)
        await project.delete()
        assert not await broker.exists(NAME)
        queue = await broker.open(NAME)
        with pytest.raises(QueueGone, match="does not exist"):
            await queue.receive()


async def test_a_queue_whose_topic_was_deleted_exists(project: Project) -> None:
    """What it still holds can be taken, but nothing can be sent to it."""
    await project.create(topic="_deleted-topic_")
    async with project.broker() as broker:
        assert await broker.exists(NAME)
        assert await first(broker) == {NAME}
        queue = await broker.open(NAME)
        with pytest.raises(QueueUnavailable, match=r"topic of .* was deleted"):
            await queue.publish(b"{}")


async def test_publishing_makes_topic_and_subscription(project: Project) -> None:
    """As a client does; who comes first makes them."""
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        assert not await broker.exists(NAME)
        message_id = await queue.publish(b"{}")
        assert await broker.exists(NAME)
        assert (await queue.receive()).message.id == message_id


async def test_who_may_only_publish_can_submit(project: Project, pubsub_fake: FakeServer) -> None:
    """The topic's name follows from the subscription's."""
    await project.create()
    with pubsub_fake.failing(project.project, "GetSubscription", status="PERMISSION_DENIED"):
        async with project.broker() as broker:
            queue = await broker.open(NAME)
            message_id = await queue.publish(b"{}")
            assert (await queue.receive()).message.id == message_id


async def test_a_queue_is_opened_once(project: Project) -> None:
    """Id and path are one queue, with one address for every credential."""
    async with project.broker() as broker:
        queue = await broker.open(NAME)
        path = f"projects/{project.project}/subscriptions/{NAME}"
        assert await broker.open(path) is queue
        assert queue.address == f"pubsub:{project.project}/{NAME}"


async def test_a_foreign_credential_renews_nothing(project: Project) -> None:
    """Only one of the same project can take over."""
    other = AwsCredential(broker="sqs", scope="s", origin="o", fingerprint="f", region="eu")
    async with project.broker() as broker:
        with pytest.raises(Misconfigured, match="no credential of"):
            await broker.renew(other)
