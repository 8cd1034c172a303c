"""One SQS queue that we take from."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import anyio.abc

from runner import log
from runner.errors import (
    LeaseLost,
    QueueDenied,
    QueueGone,
    QueueUnavailable,
    RunnerError,
    Unsupported,
)
from runner.model import Message
from runner.queues.base import BrokerOptions, Delivery, Inspectable, Queue, Rights
from runner.queues.drawer import DeadLetter
from runner.queues.sqs.account import Account, Polled
from runner.queues.sqs.delivery import SqsDelivery
from runner.queues.sqs.facts import NAMES, Facts
from runner.queues.sqs.letters import Letters
from runner.queues.sqs.looking import Found, Look
from runner.queues.sqs.polling import Polling
from runner.queues.sqs.receipt import (
    ATTRIBUTES,
    MARK,
    SHORT,
    Receipt,
    message_of,
    receipt_of,
    seconds,
    server_clock,
    word,
)
from runner.queues.sqs.rights import rights
from runner.queues.sqs.terms import Terms
from runner.request.trace import TRACEPARENT

_log = log.get_logger(__name__)

#: Seconds for which what the queue's owner has set is believed.
_FRESH = 600.0
_FIFO = ".fifo"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the queues of one broker share."""

    account: Account
    options: BrokerOptions
    #: Where polls run, which outlive the receives that open them.
    group: anyio.abc.TaskGroup
    #: Seconds of one poll.
    wait: int
    terms: Terms


class SqsQueue(Queue, Inspectable):
    """A long poll at a time, whoever receives; the URL is asked for when nobody has told it."""

    peek_costs = (
        "on SQS looking is receiving: it adds one to each message's receive count, which the "
        "queue's maxReceiveCount counts, and hides the messages from everybody for a moment"
    )

    def __init__(self, name: str, project: str, parts: Parts) -> None:
        super().__init__(name, broker="sqs", project=project)
        self.patience = float(parts.wait)
        self._account = parts.account
        self._lease = parts.options.lease
        self._wait = parts.wait
        self._terms = parts.terms
        self._polling = Polling(parts.group, self._receive)
        self._url = ""
        self._facts: tuple[float, Facts] | None = None
        self._letters = Letters(
            parts.account, parts.options.drawer, self.facts, lambda: self.address
        )

    @property
    def address(self) -> str:
        """Say host, account and name, once the queue's URL is known."""
        if not self._url:
            return super().address
        parts = urlsplit(self._url)
        return f"sqs:{parts.netloc}{parts.path}"

    @property
    def known_url(self) -> str:
        """Return the URL, empty while nobody has told it."""
        return self._url

    def found_at(self, url: str) -> None:
        """Use this URL from now on."""
        self._url = url

    async def url(self) -> str:
        """Return the URL. Raises QueueGone, QueueUnavailable."""
        if not self._url:
            answer = await self._account.ask("get_queue_url", QueueName=self.name)
            self._url = word(answer, "QueueUrl")
        return self._url

    async def facts(self) -> Facts:
        """Return what the owner has set, as far as we may know it; not older than 10 minutes."""
        now = time.monotonic()
        if self._facts is None or now - self._facts[0] > _FRESH:
            self._facts = now, await self._ask_facts()
        return self._facts[1]

    # ------------------------------------------------------------------ taking

    async def receive(self) -> Delivery:
        """Wait for a message; cancelled, it leaves its poll open for the next receive."""
        while True:
            delivery = await self.take()
            if delivery is not None:
                return delivery

    async def take(self) -> Delivery | None:
        """Poll once; ``None``: there was nothing."""
        delivery = await self._polling.once()
        # A loop that was blocked for long hears of a message that is somebody else's by now.
        return None if delivery is None or delivery.is_lost else delivery

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Extend what the token holds: SQS says whether it still does."""
        receipt = Receipt.of(token)
        if not self._url:
            self._url = receipt.url
        delivery = SqsDelivery(
            message, receipt, self._lease, self._account, self._letters, terms=self._terms
        )
        await delivery.extend()
        return delivery

    async def depth(self) -> int | None:
        """Count the visible messages, about right."""
        told = await self._attributes("ApproximateNumberOfMessages")
        count = str(told.get("ApproximateNumberOfMessages", ""))
        return int(count) if count.isdecimal() else None

    async def rights(self) -> Rights:
        """Try to keep and to delete a message that nobody ever had."""
        return await rights(self._account, await self.url())

    async def check(self) -> None:
        """Ask about the queue. Raises QueueGone, QueueUnavailable, QueueDenied."""
        await self._attributes("QueueArn")

    # ------------------------------------------------------------------ looking

    async def peek(self, limit: int) -> Sequence[Message]:
        """Receive, read, and give back."""
        async with Look(self._account, await self.url()) as look:
            return [message_of(found, self.name) for found in await look.at_most(limit)]

    async def dead(self) -> Sequence[DeadLetter]:
        """Read the letters of the dead letter queue and those on this machine."""
        return await self._letters.all(await self.url(), self.name)

    async def requeue(self, message_id: str) -> bool:
        """Send a letter's body as a new message."""
        return await self._letters.requeue(await self.url(), message_id, self.publish)

    async def publish(self, body: bytes) -> str:
        """Send the body alone, as StudioML clients do. Raises Unsupported for what is no text."""
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise Unsupported(f"SQS carries text: the message is none ({error})") from error
        asked: dict[str, Any] = {"MessageBody": text}
        if self.name.endswith(_FIFO):
            # A group of its own: experiments do not wait for each other.
            asked["MessageGroupId"] = asked["MessageDeduplicationId"] = str(uuid.uuid4())
        try:
            answer = await self._account.ask("send_message", QueueUrl=await self.url(), **asked)
        except QueueGone:
            await self._create()
            answer = await self._account.ask("send_message", QueueUrl=await self.url(), **asked)
        return word(answer, "MessageId")

    async def purge(self) -> None:
        """Remove all messages, those that are held as well; SQS takes a minute for it."""
        await self._account.ask("purge_queue", QueueUrl=await self.url())

    # ------------------------------------------------------------------ calls

    async def _create(self) -> None:
        attributes = {"FifoQueue": "true"} if self.name.endswith(_FIFO) else {}
        answer = await self._account.ask("create_queue", QueueName=self.name, Attributes=attributes)
        self._url = word(answer, "QueueUrl")
        _log.warning("there was no such queue: it was made", url=self._url)

    async def _attributes(self, *names: str) -> dict[str, Any]:
        answer = await self._account.ask(
            "get_queue_attributes", QueueUrl=await self.url(), AttributeNames=list(names)
        )
        return dict(answer.get("Attributes") or {})

    async def _ask_facts(self) -> Facts:
        try:
            return Facts.of(await self._attributes(*NAMES))
        except QueueDenied:
            return Facts()

    async def _receive(self) -> SqsDelivery | None:
        """Make one poll, and all that a message of it needs before somebody gets it."""
        url = await self.url()
        short = min(self._lease, SHORT)
        polled = await self._account.poll(
            self._wait,
            QueueUrl=url,
            MaxNumberOfMessages=1,
            VisibilityTimeout=seconds(short, SHORT),
            MessageSystemAttributeNames=list(ATTRIBUTES),
            MessageAttributeNames=[MARK, TRACEPARENT],
        )
        for found in polled.answer.get("Messages") or ():
            return await self._lengthened(await self._held(polled, found, short))
        return None

    async def _held(self, polled: Polled, found: Found, lease: timedelta) -> SqsDelivery:
        facts = await self._facts_or_none()
        receipt = receipt_of(
            found,
            self._url,
            now=polled.time,
            server=server_clock(polled.answer, polled.time),
            retention=facts.retention,
        )
        message = message_of(found, self.name)
        return SqsDelivery(
            message,
            receipt,
            lease,
            self._account,
            self._letters,
            hidden_at=polled.at,
            terms=self._terms,
        )

    async def _facts_or_none(self) -> Facts:
        """Know nothing rather than lose a message."""
        try:
            return await self.facts()
        except RunnerError:
            return Facts()

    async def _lengthened(self, delivery: SqsDelivery) -> SqsDelivery:
        """Hide for the whole lease what was received with a short one."""
        if self._lease <= delivery.lease:
            return delivery
        short, delivery.lease = delivery.lease, self._lease
        try:
            await delivery.extend()
        except (QueueUnavailable, LeaseLost):
            # It is tried again in time, or whoever takes the message hears that it is lost.
            delivery.lease = short
        return delivery
