"""What SQS refuses reaches people as one sentence with a remedy, and the runner as one error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.errors import (
    LeaseLost,
    MessageGone,
    QueueDenied,
    QueueGone,
    QueueUnavailable,
    Unsupported,
)
from runner.model import Message
from runner.queues.base import Delivery
from runner.queues.sqs import SqsBroker
from runner.queues.sqs.receipt import Receipt
from tests.queues.sqs_case import sqs_broker
from tests.servers.canned_sqs import CannedSqs, canned_sqs, refused, said
from tests.servers.moto_sqs import credential
from tests.servers.web import Reply

pytestmark = pytest.mark.anyio

MESSAGE = Message("m1", b"{}", "sqs_demo")
GONE = refused(
    "QueueDoesNotExist",
    "The specified queue does not exist.",
    query="AWS.SimpleQueueService.NonExistentQueue",
)


@pytest.fixture
def sqs() -> Iterator[CannedSqs]:
    """Return a server that knows one queue."""
    with canned_sqs() as server:
        server.always("GetQueueUrl", said(QueueUrl=server.queue("sqs_demo")))
        yield server


def broker_on(sqs: CannedSqs, directory: Path, **other: Any) -> SqsBroker:
    """Make a broker."""
    return sqs_broker(credential(sqs.url), directory, **other)


def a_message() -> Reply:
    """Answer a receive with a message."""
    sent = str(int(time.time() * 1000))
    attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": sent}
    found = {"MessageId": "m1", "ReceiptHandle": "r1", "Body": "{}", "Attributes": attributes}
    return said(Messages=[found])


def token(sqs: CannedSqs, *, held: float = 0.0, left: float | None = None) -> str:
    """Return what a predecessor wrote down who received ``held`` seconds ago."""
    now = time.time()
    vanishes = None if left is None else now + left
    return Receipt(sqs.queue("sqs_demo"), "r1", now - held, vanishes).token


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refused("AccessDenied", "x may not", status=403), "AccessDenied sqs:ReceiveMessage arn:"),
        (refused("AccessDeniedException"), "sqs:ReceiveMessage docs/permissions.md"),
        (refused("KmsAccessDenied", "no key"), "sqs:ReceiveMessage kms:Decrypt"),
        (refused("InvalidClientTokenId", status=403), "unknown AWS valid"),
        (refused("UnrecognizedClientException"), "unknown AWS"),
        (refused("ExpiredToken", "is expired", status=403), "session expired fresh"),
        (refused("SignatureDoesNotMatch", "no match", status=403), "secret copy"),
        (refused("SignatureDoesNotMatch", "Signature expired: 1", status=403), "clock set"),
        (refused("SomethingNew", status=403), "SomethingNew sqs:ReceiveMessage"),
    ],
)
async def test_a_refused_credential_says_what_is_missing(
    sqs: CannedSqs, tmp_path: Path, reply: Reply, words: str
) -> None:
    """The sentence names the credential's file, the right and the remedy."""
    sqs.always("ReceiveMessage", reply)
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(QueueDenied) as caught:
            await (await broker.open("sqs_demo")).take()
    said_ = str(caught.value)
    assert "certs/aws/test" in said_
    assert not [word for word in words.split() if word not in said_]
    assert "arn:" not in said_ or "arn:aws:sqs:us-west-2:123456789012:sqs_demo" in said_


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("RequestThrottled", 400),
        ("ThrottlingException", 400),
        ("OverLimit", 400),
        ("RequestThrottled", 403),
        ("OverLimit", 403),
        ("TooManyRequests", 429),
        ("ServiceUnavailable", 503),
        ("InternalFailure", 500),
    ],
)
async def test_a_busy_broker_is_asked_again_once_and_then_later(
    sqs: CannedSqs, tmp_path: Path, code: str, status: int
) -> None:
    """Throttling is an outage: whoever asks waits longer each time, and no queue is lost for it."""
    sqs.always("ReceiveMessage", refused(code, "Rate exceeded", status=status))
    sqs.always("GetQueueAttributes", refused(code, "Rate exceeded", status=status))
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(QueueUnavailable) as caught:
            await (await broker.open("sqs_demo")).take()
        with pytest.raises(QueueUnavailable):
            await broker.exists("sqs_demo")
    assert not isinstance(caught.value, QueueDenied | QueueGone)
    assert sqs.count("ReceiveMessage") <= 2


async def test_a_deleted_queue_is_a_definite_no(sqs: CannedSqs, tmp_path: Path) -> None:
    """Receiving says so, and asking for its existence."""
    for action in ("ReceiveMessage", "GetQueueAttributes"):
        sqs.always(action, GONE)
    async with broker_on(sqs, tmp_path) as broker:
        assert not await broker.exists("sqs_demo")
        with pytest.raises(QueueGone):
            await (await broker.open("sqs_demo")).take()


async def test_a_name_that_has_no_url_is_a_definite_no(sqs: CannedSqs, tmp_path: Path) -> None:
    """A queue that this process never saw can be asked about, too."""
    sqs.always("GetQueueUrl", GONE)
    async with broker_on(sqs, tmp_path) as broker:
        assert not await broker.exists("sqs_demo")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidClientTokenId", "ExpiredToken"])
async def test_a_refusal_is_no_deletion(sqs: CannedSqs, tmp_path: Path, code: str) -> None:
    """Whoever may not ask has no answer."""
    sqs.always("GetQueueAttributes", refused(code, status=403))
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(QueueDenied):
            await broker.exists("sqs_demo")


@pytest.mark.parametrize(
    ("listing", "answer"),
    [
        (said(), "no"),
        (said(QueueUrls=["https://sqs.us-west-2.amazonaws.com/123456789012/sqs_demo"]), "yes"),
        (refused("AccessDenied", status=403), "unknown"),
    ],
)
async def test_a_queue_that_may_be_hidden_from_us_is_looked_for_in_the_list(
    sqs: CannedSqs, tmp_path: Path, listing: Reply, answer: str
) -> None:
    """SQS sometimes does not say whether a queue is gone or is not ours to see."""
    ambiguous = refused(
        "QueueDoesNotExist",
        "The specified queue does not exist or you do not have access to it.",
        query="AWS.SimpleQueueService.NonExistentQueue",
    )
    sqs.always("GetQueueAttributes", ambiguous)
    sqs.always("ListQueues", listing)
    async with broker_on(sqs, tmp_path) as broker:
        if answer == "unknown":
            with pytest.raises(QueueDenied):
                await broker.exists("sqs_demo")
        else:
            assert await broker.exists("sqs_demo") is (answer == "yes")


@pytest.mark.parametrize("verb", ["extend", "ack", "release", "bury"])
async def test_a_message_of_a_deleted_queue_is_gone(
    sqs: CannedSqs, tmp_path: Path, verb: str
) -> None:
    """Nobody else has it either: a run may go on."""
    sqs.always("ReceiveMessage", a_message())
    async with broker_on(sqs, tmp_path) as broker:
        delivery = await (await broker.open("sqs_demo")).receive()
        for action in ("ChangeMessageVisibility", "DeleteMessage"):
            sqs.always(action, GONE)
        with pytest.raises(MessageGone):
            await acted(delivery, verb)


UNKNOWN_RECEIPT = [
    refused("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
    refused(
        "InvalidParameterValue",
        "Value r1 for parameter ReceiptHandle is invalid. Reason: Message does not exist or is "
        "not available for visibility timeout change.",
    ),
    refused(
        "MessageNotInflight",
        "Message does not exist or is not available for visibility timeout change.",
        query="AWS.SimpleQueueService.MessageNotInflight",
    ),
]


@pytest.mark.parametrize("reply", UNKNOWN_RECEIPT, ids=["handle", "value", "inflight"])
async def test_a_message_that_is_unknown_within_its_lease_is_gone(
    sqs: CannedSqs, tmp_path: Path, reply: Reply
) -> None:
    """Purged, deleted, or too old: it was ours alone until now, so nobody else has it."""
    sqs.always("ReceiveMessage", a_message())
    sqs.always("ChangeMessageVisibility", reply)
    async with broker_on(sqs, tmp_path, lease=30) as broker:
        delivery = await (await broker.open("sqs_demo")).receive()
        with pytest.raises(MessageGone):
            await delivery.extend()


@pytest.mark.parametrize("reply", UNKNOWN_RECEIPT, ids=["handle", "value", "inflight"])
async def test_a_successor_to_whom_a_message_is_unknown_has_lost_it(
    sqs: CannedSqs, tmp_path: Path, reply: Reply
) -> None:
    """Somebody else may have it."""
    sqs.always("ChangeMessageVisibility", reply)
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(LeaseLost) as caught:
            await (await broker.open("sqs_demo")).adopt(MESSAGE, token(sqs))
    assert not isinstance(caught.value, MessageGone)


async def test_the_last_extension_ends_at_twelve_hours(sqs: CannedSqs, tmp_path: Path) -> None:
    """A successor knows when its predecessor received; asking for more would be refused."""
    asked: list[int] = []
    sqs.says["ChangeMessageVisibility"] = lambda words: _noted(asked, words)
    twelve_hours = 12 * 3600
    async with broker_on(sqs, tmp_path, lease=60) as broker:
        queue = await broker.open("sqs_demo")
        late = await queue.adopt(MESSAGE, token(sqs, held=twelve_hours - 20))
        assert late.hold_limit is not None
        assert timedelta(0) < late.hold_limit <= timedelta(seconds=20)
        await late.release(timedelta(hours=2))
        assert all(0 < hidden <= 20 for hidden in asked)
        with pytest.raises(LeaseLost, match="12 hours"):
            await queue.adopt(MESSAGE, token(sqs, held=twelve_hours + 1))
    assert len(asked) == 2


async def test_a_message_can_be_held_until_its_queue_forgets_it(
    sqs: CannedSqs, tmp_path: Path
) -> None:
    """Retention counts from when it was sent, not from when it was received."""
    sqs.always("GetQueueAttributes", said(Attributes={"MessageRetentionPeriod": "3600"}))
    sqs.always("ReceiveMessage", a_message())
    async with broker_on(sqs, tmp_path) as broker:
        queue = await broker.open("sqs_demo")
        fresh = await queue.receive()
        old = await queue.adopt(MESSAGE, token(sqs, held=60, left=120))
    assert fresh.hold_limit is not None
    assert timedelta(minutes=58) < fresh.hold_limit <= timedelta(hours=1)
    assert old.hold_limit is not None
    assert old.hold_limit <= timedelta(seconds=120)


async def test_a_receive_is_short_and_lengthened_when_it_brings_something(
    sqs: CannedSqs, tmp_path: Path
) -> None:
    """A poll that nobody waits for any more hides its message for half a minute at most."""
    asked: list[int] = []
    sqs.says["ChangeMessageVisibility"] = lambda words: _noted(asked, words)
    sqs.always("ReceiveMessage", a_message())
    async with broker_on(sqs, tmp_path, lease=90) as broker:
        delivery = await (await broker.open("sqs_demo")).receive()
        assert delivery.lease == timedelta(seconds=90)
        assert asked == [90]
    words = next(words for action, words in sqs.asked if action == "ReceiveMessage")
    assert words["VisibilityTimeout"] == 30
    assert words["MaxNumberOfMessages"] == 1


async def test_a_lease_that_cannot_be_lengthened_is_the_short_one(
    sqs: CannedSqs, tmp_path: Path
) -> None:
    """The message is worked on, and extended in time."""
    sqs.always("ChangeMessageVisibility", refused("ServiceUnavailable", status=503))
    sqs.always("ReceiveMessage", a_message())
    async with broker_on(sqs, tmp_path, lease=90) as broker:
        delivery = await (await broker.open("sqs_demo")).receive()
    assert delivery.lease == timedelta(seconds=30)


async def test_a_credential_without_right_to_attributes_still_takes_messages(
    sqs: CannedSqs, tmp_path: Path
) -> None:
    """What the queue's owner has set is good to know, and not necessary."""
    sqs.always("GetQueueAttributes", refused("AccessDenied", status=403))
    sqs.always("ReceiveMessage", a_message())
    async with broker_on(sqs, tmp_path) as broker:
        delivery = await (await broker.open("sqs_demo")).receive()
        await delivery.bury("its script does not exist")
        assert delivery.hold_limit is not None
        assert delivery.hold_limit > timedelta(hours=11)
        [letter] = await (await broker.open("sqs_demo")).dead()
    assert letter.reason == "its script does not exist"
    assert sqs.count("DeleteMessage") == 1


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\x00", b""])
async def test_what_sqs_cannot_carry_is_refused_by_name(
    sqs: CannedSqs, tmp_path: Path, body: bytes
) -> None:
    """A message that is no text, or none at all, is the sender's to change."""
    sqs.always("SendMessage", refused("InvalidMessageContents", "Invalid characters"))
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(Unsupported):
            await (await broker.open("sqs_demo")).publish(body)


async def test_a_report_with_characters_that_sqs_does_not_take_is_sent_without_them(
    sqs: CannedSqs, tmp_path: Path
) -> None:
    """An experiment may print anything; one such line must not hold up all reports behind it."""
    async with broker_on(sqs, tmp_path) as broker:
        await broker.mailbox("sqs_demo").post(['{"line":"a\uffff😀"}'.encode()])
    [entries] = [words["Entries"] for action, words in sqs.asked if action == "SendMessageBatch"]
    assert [entry["MessageBody"] for entry in entries] == ['{"line":"a\ufffd😀"}']


@pytest.mark.parametrize(
    ("is_senders", "kind"), [(True, Unsupported), (False, QueueUnavailable)], ids=str
)
async def test_a_report_that_sqs_does_not_take_is_not_sent_for_ever(
    sqs: CannedSqs,
    tmp_path: Path,
    is_senders: bool,  # noqa: FBT001 - a parameter of the test
    kind: type[Exception],
) -> None:
    """SQS says of each report of a call whose fault it is."""
    failed = {"Id": "0", "Code": "X", "Message": "no", "SenderFault": is_senders}
    sqs.always("SendMessageBatch", said(Failed=[failed]))
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(kind):
            await broker.mailbox("sqs_demo").post([b"{}"])


async def test_no_sentence_shows_what_was_signed(sqs: CannedSqs, tmp_path: Path) -> None:
    """AWS repeats headers below the first line of some answers, a session token among them."""
    told = "The signature does not match.\n\nThe Canonical String was:\nx-amz-security-token:FQoG"
    sqs.always("ReceiveMessage", refused("SignatureDoesNotMatch", told, status=403))
    async with broker_on(sqs, tmp_path) as broker:
        with pytest.raises(QueueDenied) as caught:
            await (await broker.open("sqs_demo")).take()
    assert "FQoG" not in str(caught.value)


async def acted(delivery: Delivery, verb: str) -> None:
    """Do one thing with a delivery."""
    if verb == "extend":
        await delivery.extend()
    elif verb == "ack":
        await delivery.ack()
    elif verb == "release":
        await delivery.release(timedelta(0))
    else:
        await delivery.bury("no reason")


def _noted(asked: list[int], words: Mapping[str, Any]) -> Reply:
    asked.append(int(words["VisibilityTimeout"]))
    return said()


async def test_a_region_that_does_not_exist_is_suspected(tmp_path: Path) -> None:
    """It is a part of the server's name, which then leads nowhere."""
    async with sqs_broker(credential("http://sqs.us-wst-2.invalid"), tmp_path) as broker:
        with pytest.raises(QueueUnavailable, match=r"us-wst-2\.invalid.* check the region"):
            await (await broker.open("sqs_demo")).check()
