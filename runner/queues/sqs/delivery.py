"""A message of an SQS queue that we hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from runner.errors import LeaseLost, MessageGone, QueueGone
from runner.model import Message
from runner.queues.base import Delivery
from runner.queues.sqs.account import Account
from runner.queues.sqs.letters import Letters
from runner.queues.sqs.receipt import MARK, Receipt, seconds, word
from runner.queues.sqs.terms import Terms
from runner.queues.sqs.trouble import NotHeld
from runner.request.trace import TRACEPARENT

#: A message was hidden somewhat before we heard of it: this part of the time is not counted on.
_MARGIN, _LONGEST_MARGIN = 0.1, 1.0


class SqsDelivery(Delivery):
    """Each verb is one call, from any event loop.

    The service says little about receipts that are out of date: it may take the old one of a
    message that somebody else has by now. So a lease that has ended by our own clock is lost
    without asking, and inside a lease that has not, a message that SQS does not know is gone.

    After ``leave`` it stands for a message that was sent on: there is nothing to keep or to settle.
    """

    def __init__(
        self,
        message: Message,
        receipt: Receipt,
        lease: timedelta,
        account: Account,
        letters: Letters,
        *,
        hidden_at: float | None = None,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> None:
        """``hidden_at``: when SQS gave it to us, on the monotonic clock; else ``extend`` tells."""
        super().__init__(message, token=receipt.token, lease=lease)
        self._account = account
        self._letters = letters
        self._terms = terms
        self._begin(receipt)
        self._sent_on: Receipt | None = None
        self._held_until: float | None = None
        if hidden_at is not None:
            hidden = lease.total_seconds()
            self._held_until = hidden_at + hidden - min(_MARGIN * hidden, _LONGEST_MARGIN)
        self._is_settled = False
        self._is_buried = False

    def _begin(self, receipt: Receipt) -> None:
        now, wall, most = self._terms.clock(), self._terms.wall(), self._terms.ceiling
        self._receipt, self.token = receipt, receipt.token
        self.hold_limit = receipt.limit(wall, most)
        self._ceiling = now + receipt.ceiling(wall, most).total_seconds()
        young = receipt.young_for(wall, most)
        self._ages_at = float("inf") if young is None else now + young.total_seconds()

    @property
    def is_lost(self) -> bool:
        """Tell whether the lease has ended by our own clock."""
        return self._held_until is not None and self._terms.clock() > self._held_until

    @property
    def is_ageing(self) -> bool:
        """It is in the last sixth of the 12 hours, or of what was left of the retention."""
        return self._terms.clock() >= self._ages_at

    async def send_on(self, mark: str) -> str:
        """Send the same body; of clients' own attributes only the trace goes with it."""
        retention = (await self._letters.facts()).retention
        now, url = self._terms.wall(), self._receipt.url
        answer = await self._account.ask(
            "send_message",
            QueueUrl=url,
            MessageBody=self.message.body.decode("utf-8", "surrogatepass"),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in ((MARK, mark), (TRACEPARENT, self.message.traceparent))
                if value
            },
        )
        vanishes = None if retention is None else now + retention.total_seconds()
        self._sent_on = Receipt(url, "", now, vanishes)
        return word(answer, "MessageId")

    async def leave(self) -> None:
        """Delete the message; one that came back meanwhile is deleted by whoever gets it."""
        if self._sent_on is None:
            raise LeaseLost(f"no message stands for {self.message.id}")
        if self._is_held:
            with suppress(LeaseLost), self._explained():
                self._check()
                await self._delete()
        self._begin(self._sent_on)
        self._sent_on = None

    @property
    def _is_held(self) -> bool:
        return bool(self._receipt.handle)

    async def extend(self) -> None:
        """Hide the message for another ``lease``, within the 12 hours."""
        if not self._is_held:
            return
        if self._is_settled:
            raise LeaseLost(f"message {self.message.id} is settled already")
        self._check()
        hidden = seconds(self.lease, self._left)
        if not hidden:
            raise LeaseLost(f"message {self.message.id} was held for 12 hours, SQS allows no more")
        began = self._terms.clock()
        with self._explained():
            await self._hide(hidden)
        self._held_until = began + hidden

    async def ack(self) -> None:
        """Delete the message."""
        await self._settle(self._delete)

    async def release(self, delay: timedelta) -> None:
        """Show the message again; after 12 hours since the receive at the latest."""
        await self._settle(lambda: self._hide(seconds(delay, self._left)))

    async def bury(self, reason: str) -> None:
        """Send it to the queue's dead letter queue, else keep it on this machine; then delete it.

        Raises OutOfDisk, HostFault where neither takes it; the message is held as before then.
        """

        async def bury() -> None:
            if not self._is_buried:
                await self._letters.put(self.message, reason, self._receipt)
                self._is_buried = True
            await self._delete()

        await self._settle(bury)

    @property
    def _left(self) -> timedelta:
        return timedelta(seconds=max(0.0, self._ceiling - self._terms.clock()))

    def _check(self) -> None:
        if not self._is_held:
            raise LeaseLost(f"a fresh message stands for {self.message.id}, and nobody here has it")
        if self.is_lost:
            raise LeaseLost(f"message {self.message.id} was not extended in time")

    async def _settle(self, effect: Callable[[], Awaitable[None]]) -> None:
        if self._is_settled:
            return
        self._check()
        with self._explained():
            await effect()
        self._is_settled = True

    async def _hide(self, hidden: int) -> None:
        await self._account.ask(
            "change_message_visibility",
            QueueUrl=self._receipt.url,
            ReceiptHandle=self._receipt.handle,
            VisibilityTimeout=hidden,
        )

    async def _delete(self) -> None:
        await self._account.ask(
            "delete_message", QueueUrl=self._receipt.url, ReceiptHandle=self._receipt.handle
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say that the message is gone where nobody else can have it."""
        certain = self._held_until is not None and not self.is_lost
        try:
            yield
        except QueueGone as error:
            raise MessageGone(f"message {self.message.id}: {error}") from error
        except NotHeld as error:
            if certain:
                raise MessageGone(
                    f"message {self.message.id} was deleted, purged or too old: {error}"
                ) from error
            raise
