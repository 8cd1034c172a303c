"""Which queues of an account are seen, taken and left, and what a missing right costs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from runner.errors import QueueDenied
from runner.queues.sqs import SqsBroker
from tests.queues.sqs_case import sqs_broker
from tests.servers.canned_sqs import CannedSqs, canned_sqs, refused, said
from tests.servers.moto_sqs import Sqs, credential
from tests.servers.s3 import S3Server
from tests.servers.web import Reply

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
FORBIDDEN = refused("AccessDenied", "User: x is not authorized", status=403)
GONE = refused(
    "QueueDoesNotExist",
    "The specified queue does not exist.",
    query="AWS.SimpleQueueService.NonExistentQueue",
)


@pytest.fixture
def sqs() -> Iterator[CannedSqs]:
    """Return a server that lists nothing."""
    with canned_sqs() as server:
        yield server


async def first(broker: SqsBroker) -> frozenset[str]:
    """Return what the first look finds."""
    async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        with anyio.fail_after(PATIENCE):
            return await anext(sets)


async def test_all_pages_are_read(sqs: CannedSqs, tmp_path: Path) -> None:
    """An account has more queues than one answer holds; each page continues the one before."""

    def page(words: Mapping[str, Any]) -> Reply:
        assert words["MaxResults"] == 1000
        number = int(words.get("NextToken", "0"))
        urls = [sqs.queue(f"sqs_{number}_{one}") for one in range(1000)]
        return said(QueueUrls=urls, **({"NextToken": str(number + 1)} if number < 2 else {}))

    sqs.says["ListQueues"] = page
    async with sqs_broker(credential(sqs.url), tmp_path) as broker:
        assert len(await first(broker)) == 3000
    assert sqs.count("ListQueues") == 3


async def test_foreign_queues_are_left(sqs: CannedSqs, tmp_path: Path) -> None:
    """What does not match is told and not touched; responses are nobody's experiments."""
    names = ["sqs_mine", "sqs_mine_response", "orders", "orders-dead"]
    sqs.always("ListQueues", said(QueueUrls=[sqs.queue(name) for name in names]))
    async with sqs_broker(credential(sqs.url), tmp_path) as broker:
        assert await first(broker) == {"sqs_mine"}
        assert broker.left == {"sqs_mine_response", "orders", "orders-dead"}
    assert {action for action, _ in sqs.asked} == {"ListQueues"}


async def test_a_queue_that_is_named_is_taken(sqs: CannedSqs, tmp_path: Path) -> None:
    """Whatever its name looks like; by the operator, or in the file beside the credential."""
    sqs.always("ListQueues", said(QueueUrls=[sqs.queue(one) for one in ("a", "b", "c")]))
    own = credential(sqs.url, queues=("b",))
    async with sqs_broker(own, tmp_path, named=["a", "another_brokers"]) as broker:
        assert await first(broker) == {"a", "b"}
        assert broker.left == {"c"}
    assert {action for action, _ in sqs.asked} == {"ListQueues"}


async def test_a_prefix_is_sqs_to_apply(sqs: CannedSqs, tmp_path: Path) -> None:
    """An account of thousands of queues is asked for ours alone; what is named is found besides."""
    sqs.says["ListQueues"] = lambda words: said(
        QueueUrls=[sqs.queue(f"{words['QueueNamePrefix']}_one")]
    )
    sqs.always("GetQueueUrl", said(QueueUrl=sqs.queue("other")))
    broker = sqs_broker(credential(sqs.url), tmp_path, prefix="sqs_lab", named=["other"])
    async with broker:
        assert await first(broker) == {"sqs_lab_one", "other"}


async def test_forbidden_listing_says_what_helps(sqs: CannedSqs, tmp_path: Path) -> None:
    """The right that is missing, and the way to do without it."""
    sqs.always("ListQueues", FORBIDDEN)
    async with sqs_broker(credential(sqs.url), tmp_path) as broker:
        with pytest.raises(QueueDenied) as caught:
            await first(broker)
    for word in ("sqs:ListQueues", "--queue URL", "'queues'", "certs/aws/test"):
        assert word in str(caught.value)


async def test_named_queues_need_no_right_to_list(sqs: CannedSqs, tmp_path: Path) -> None:
    """By short name they are looked up; by URL not even that is needed."""
    for action in ("ListQueues", "GetQueueAttributes"):
        sqs.always(action, FORBIDDEN)
    sqs.says["GetQueueUrl"] = lambda words: (
        said(QueueUrl=sqs.queue("sqs_one")) if words["QueueName"] == "sqs_one" else GONE
    )
    other = f"{sqs.url}/210987654321/theirs"
    own = credential(sqs.url, queues=("sqs_one", "sqs_vanished", other))
    async with sqs_broker(own, tmp_path) as broker:
        assert await first(broker) == {"sqs_one", "theirs"}
        theirs = await broker.open("theirs")
        assert theirs.address == f"sqs:{sqs.url.removeprefix('http://')}/210987654321/theirs"


async def test_a_queue_of_another_region_is_said_and_left(sqs: CannedSqs, tmp_path: Path) -> None:
    """A request that is signed for one region goes to no other."""
    elsewhere = "https://sqs.eu-west-1.amazonaws.com/123456789012/sqs_far"
    own = credential(sqs.url, queues=(elsewhere, "no such thing"))
    async with sqs_broker(own, tmp_path) as broker:
        assert await first(broker) == frozenset()


async def test_a_named_queue_that_is_deleted_is_noticed(sqs: CannedSqs, tmp_path: Path) -> None:
    """It is asked for at every look, and comes back when it is made again."""
    sqs.always("ListQueues", FORBIDDEN)
    url = f"{sqs.url}/123456789012/theirs"
    async with (
        sqs_broker(credential(sqs.url, queues=("sqs_one", url)), tmp_path) as broker,
        aclosing(broker.discover()) as sets,  # type: ignore[type-var]
    ):
        sqs.always("GetQueueUrl", said(QueueUrl=sqs.queue("sqs_one")))
        with anyio.fail_after(PATIENCE):
            assert await anext(sets) == {"sqs_one", "theirs"}
            sqs.always("GetQueueAttributes", GONE)
            assert await anext(sets) == {"sqs_one"}
            sqs.always("GetQueueAttributes", said())
            assert await anext(sets) == {"sqs_one", "theirs"}


async def test_another_credential_is_looked_with_at_once(sqs: CannedSqs, tmp_path: Path) -> None:
    """Whoever adds a queue to the file beside the credential does not wait for the next look."""
    sqs.always("ListQueues", said(QueueUrls=[sqs.queue("a"), sqs.queue("b")]))
    own = credential(sqs.url, queues=("a",))
    async with (
        sqs_broker(own, tmp_path, refresh=3600) as broker,
        aclosing(broker.discover()) as sets,  # type: ignore[type-var]
    ):
        with anyio.fail_after(PATIENCE):
            assert await anext(sets) == {"a"}
            await broker.renew(replace(own, queues=("a", "b"), fingerprint="2"))
            assert await anext(sets) == {"a", "b"}


@pytest.mark.service("sqs")
async def test_a_queue_that_was_made_again_works(moto_server: S3Server, tmp_path: Path) -> None:
    """Deleted and made again under its name, by the same client, it is taken from as before."""
    server, name = Sqs(moto_server.endpoint), f"sqs_{uuid.uuid4().hex[:12]}"
    async with sqs_broker(server.credential, tmp_path) as broker:
        for body in ("first", "second"):
            await anyio.to_thread.run_sync(server.create, name)
            await anyio.to_thread.run_sync(server.send, name, body)
            assert await broker.exists(name)
            with anyio.fail_after(PATIENCE):
                delivery = await (await broker.open(name)).receive()
            assert delivery.message.body == body.encode()
            await delivery.ack()
            await anyio.to_thread.run_sync(server.delete, name)
            assert not await broker.exists(name)


@pytest.mark.service("sqs")
async def test_publishing_makes_the_queue(moto_server: S3Server, tmp_path: Path) -> None:
    """As StudioML clients do; a FIFO queue by the end of its name."""
    server, name = Sqs(moto_server.endpoint), f"sqs_{uuid.uuid4().hex[:12]}"
    async with sqs_broker(server.credential, tmp_path) as broker:
        for queue in (await broker.open(name), await broker.open(f"{name}.fifo")):
            for body in (b"one", b"two"):
                await queue.publish(body)
            with anyio.fail_after(PATIENCE):
                held = [await queue.receive() for _ in range(2)]
            assert {delivery.message.body for delivery in held} == {b"one", b"two"}
            for delivery in held:
                await delivery.ack()
            await queue.publish(b"three")
            await queue.purge()
            assert await queue.depth() == 0
