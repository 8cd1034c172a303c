"""Dead letters: in the owner's dead letter queue where there is one, else on this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runner import blocking, log
from runner.errors import QueueDenied, QueueGone, Unsupported
from runner.model import Message
from runner.queues.drawer import DeadLetter, Drawer
from runner.queues.reasons import shortened
from runner.queues.sqs.account import Account
from runner.queues.sqs.facts import Facts
from runner.queues.sqs.looking import Look
from runner.queues.sqs.receipt import Receipt, attributes, message_of, taken, written

_log = log.get_logger(__name__)

#: Names of the attributes of a letter.
REASON, SOURCE, COUNT, ORIGINAL = (
    "StudioRunner.Reason",
    "StudioRunner.Source",
    "StudioRunner.ReceiveCount",
    "StudioRunner.MessageId",
)
#: Bytes of a reason: attributes count as part of the message, whose size has a limit.
_LONGEST_REASON = 4000
#: Letters that are looked at; a longer queue is better read with AWS's own tools.
_MOST = 1000
#: The disk, for all queues of all accounts.
_disk = blocking.Limit(4)


@dataclass(frozen=True)
class Letters:
    """The dead letters of one queue."""

    account: Account
    drawer: Drawer
    facts: Callable[[], Awaitable[Facts]]
    #: The queue's address, under which the drawer keeps its letters.
    address: Callable[[], str]

    async def put(self, message: Message, reason: str, receipt: Receipt) -> None:
        """Keep a letter. Raises QueueUnavailable, OutOfDisk, HostFault."""
        target = (await self.facts()).dead_letters(receipt.url)
        if target and await self._send(target, message, reason, receipt):
            return
        await blocking.call(lambda _: self.drawer.put(self.address(), message, reason), limit=_disk)

    async def all(self, url: str, queue: str) -> Sequence[DeadLetter]:
        """Return them, oldest first. Raises QueueUnavailable, QueueDenied."""
        here = await blocking.call(lambda _: self.drawer.all_of(self.address()), limit=_disk)
        there = await self._there(url, queue, needed=not here)
        return sorted([*here, *there], key=lambda letter: letter.buried_at)

    async def requeue(
        self, url: str, message_id: str, publish: Callable[[bytes], Awaitable[str]]
    ) -> bool:
        """Send a letter's body to the queue again, and forget the letter."""
        address = self.address()
        letter = await blocking.call(lambda _: self.drawer.take(address, message_id), limit=_disk)
        if letter is not None:
            await publish(letter.message.body)
            await blocking.call(lambda _: self.drawer.remove(address, message_id), limit=_disk)
            return True
        target = (await self.facts()).dead_letters(url)
        with suppress(QueueGone):
            return bool(target) and await self._send_again(target, message_id, publish)
        return False

    async def _there(self, url: str, queue: str, *, needed: bool) -> list[DeadLetter]:
        """Read the dead letter queue; one that is gone has no letters."""
        target = (await self.facts()).dead_letters(url)
        if not target:
            return []
        try:
            async with Look(self.account, target) as look:
                found = await look.at_most(_MOST)
        except (QueueDenied, QueueGone) as error:
            if needed and isinstance(error, QueueDenied):
                raise
            _log.warning("dead letters cannot be read", trouble=str(error))
            return []
        return [letter for one in found if (letter := _letter(one, url, queue))]

    async def _send_again(
        self, target: str, message_id: str, publish: Callable[[bytes], Awaitable[str]]
    ) -> bool:
        async with Look(self.account, target) as look:
            for found in await look.at_most(_MOST, until=lambda one: _id(one) == message_id):
                if _id(found) == message_id:
                    await publish(message_of(found, "").body)
                    await look.delete(found)
                    return True
        return False

    async def _send(self, target: str, message: Message, reason: str, receipt: Receipt) -> bool:
        """Send to the dead letter queue; ``False`` where that takes nothing from us."""
        told = {
            REASON: shortened(taken(reason), _LONGEST_REASON) or "unknown",
            SOURCE: receipt.url,
            COUNT: str(message.receive_count),
            ORIGINAL: message.id,
        }
        asked: dict[str, Any] = {
            "QueueUrl": target,
            "MessageBody": message.body.decode("utf-8", "surrogatepass"),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in told.items()
            },
        }
        if target.endswith(".fifo"):
            asked["MessageGroupId"] = receipt.group or message.id
            asked["MessageDeduplicationId"] = message.id
        try:
            await self.account.ask("send_message", **asked)
        except (QueueDenied, QueueGone, Unsupported) as error:
            _log.warning("a dead letter is kept on this machine instead", trouble=str(error))
            return False
        return True


def _id(found: Mapping[str, Any]) -> str:
    return written(found, ORIGINAL) or str(found["MessageId"])


def _letter(found: Mapping[str, Any], url: str, queue: str) -> DeadLetter | None:
    """Read a letter; ``None`` for one of another queue that has the same dead letter queue."""
    source = written(found, SOURCE).rpartition("/")[2]
    source = source or str(attributes(found).get("DeadLetterQueueSourceArn", "")).rpartition(":")[2]
    if source not in {"", url.rpartition("/")[2]}:
        return None
    message = message_of(found, queue)
    count = written(found, COUNT)
    times = int(count) if count.isdecimal() else message.receive_count
    reason = written(found, REASON) or "received more often than the queue's owner allows"
    sent = str(attributes(found).get("SentTimestamp", "0"))
    buried_at = int(sent) / 1000 if sent.isdecimal() else 0.0
    return DeadLetter(Message(_id(found), message.body, queue, times), reason, buried_at)
