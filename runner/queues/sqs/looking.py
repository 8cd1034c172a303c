"""Looking at messages without keeping them: SQS knows only receiving, so they are given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any

import anyio

from runner.errors import RunnerError
from runner.queues.sqs.account import Account
from runner.queues.sqs.receipt import ATTRIBUTES, attributes, word

Found = Mapping[str, Any]

#: Messages of one call.
_BATCH = 10
#: Seconds for which what was seen is hidden, so that the next call brings something else.
_HIDDEN = 30
#: Seconds that a call waits: one that does not wait asks only some of the queue's servers.
_WAIT = 1
_LAST = 10.0


class Look(AbstractAsyncContextManager["Look"]):
    """Holds what it finds for the length of the block."""

    def __init__(self, account: Account, url: str) -> None:
        self._account = account
        self._url = url
        self._found: dict[str, Found] = {}

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show everything again at once."""
        del kind, error, trace
        found = list(self._found.values())
        # What is not given back is visible again soon.
        with anyio.move_on_after(_LAST, shield=True), suppress(RunnerError):
            for start in range(0, len(found), _BATCH):
                await self._give_back(found[start : start + _BATCH])

    async def at_most(
        self, limit: int, until: Callable[[Found], bool] = lambda _: False
    ) -> list[Found]:
        """Return so many messages, oldest first; fewer once ``until`` says yes to one."""
        while len(self._found) < limit:
            new = await self._receive(min(_BATCH, limit - len(self._found)))
            if not new or any(map(until, new)):
                break
        return sorted(self._found.values(), key=_sent)

    async def delete(self, found: Found) -> None:
        """Delete one of them."""
        await self._account.ask("delete_message", QueueUrl=self._url, ReceiptHandle=_handle(found))
        del self._found[str(found["MessageId"])]

    async def _receive(self, count: int) -> list[Found]:
        answer = await self._account.ask(
            "receive_message",
            QueueUrl=self._url,
            MaxNumberOfMessages=count,
            VisibilityTimeout=_HIDDEN,
            WaitTimeSeconds=_WAIT,
            MessageSystemAttributeNames=list(ATTRIBUTES),
            MessageAttributeNames=["StudioRunner.*"],
        )
        found = {word(one, "MessageId"): one for one in answer.get("Messages") or ()}
        new = [one for name, one in found.items() if name not in self._found]
        self._found |= found
        return new

    async def _give_back(self, batch: list[Found]) -> None:
        await self._account.ask(
            "change_message_visibility_batch",
            QueueUrl=self._url,
            Entries=[
                {
                    "Id": str(number),
                    "ReceiptHandle": one.get("ReceiptHandle"),
                    "VisibilityTimeout": 0,
                }
                for number, one in enumerate(batch)
            ],
        )


def _sent(found: Found) -> int:
    sent = str(attributes(found).get("SentTimestamp", ""))
    return int(sent) if sent.isdecimal() else 0


def _handle(found: Found) -> str:
    return word(found, "ReceiptHandle")
