"""Taking reports from a response queue, and showing them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import anyio

from runner.cli import show
from runner.cli.queues import AnyQueue
from runner.errors import QueueDenied, QueueGone, QueueUnavailable
from runner.lifecycle.responses.reading import NotForUs, Told, read
from runner.queues.base import Delivery
from runner.redaction import Redactor

#: Somebody else's report comes back to us after so long, and is hidden from its reader till then.
_GIVEN_BACK = timedelta(seconds=20)
#: Seconds without a report after which ``--once`` ends; and after an experiment's own end, where
#: brokers may mix up the order.
_SILENCE, _LATE = 5.0, 1.0
_PAUSE = 2.0
_CLOCK = len("2021-06-27T")


class Reports:
    """What one reader sees of a response queue."""

    def __init__(self, queue: AnyQueue, key: Any, *, only: str, as_json: bool) -> None:
        """``key``: the private one, or none; ``only``: the experiment; empty means all."""
        self._queue = queue
        self._key = key
        self._only = only
        self._as_json = as_json
        self._redactor = Redactor()
        self._left: Counter[str] = Counter()
        #: The exit status of the experiment, once it has ended.
        self._status: int | None = None

    async def peek(self, limit: int) -> int:
        """Show what waits, oldest first, and leave it there."""
        if self._queue.peek_costs:
            show.note(f"{self._queue.name}: {self._queue.peek_costs}")
        for message in await self._queue.peek(limit):
            if told := self._ours(message.body):
                self._show(told)
        self._tell_left()
        return self._status or 0

    async def take(self, *, once: bool) -> int:
        """Show reports, and take out what was shown, until the end that is wanted."""
        try:
            while True:
                delivery = await self._next(once=once)
                if delivery is None:
                    return self._status or 0
                await self._see_to(delivery)
        finally:
            self._tell_left()

    async def _next(self, *, once: bool) -> Delivery | None:
        """Wait for a report; ``None``: that was all."""
        patience = _SILENCE if once else float("inf")
        if self._status is not None:
            patience = _LATE
        with anyio.move_on_after(patience):
            while True:
                try:
                    return await self._queue.receive()
                except (QueueGone, QueueDenied):
                    raise
                except QueueUnavailable as error:
                    show.note(f"{self._queue.name}: {error}")
                await anyio.sleep(_PAUSE)
        return None

    async def _see_to(self, delivery: Delivery) -> None:
        told = self._ours(delivery.message.body)
        if told is None:
            await delivery.release(_GIVEN_BACK)
            return
        self._show(told)
        try:
            await delivery.ack()
        except QueueUnavailable as error:  # it comes again
            show.note(f"{self._queue.name}: {error}")

    def _ours(self, body: bytes) -> Told | None:
        try:
            told = read(body, self._key)
        except NotForUs as error:
            self._left[str(error)] += 1
            return None
        if self._only and told.key != self._only:
            self._left["it is about another experiment"] += 1
            return None
        return told

    def _show(self, told: Told) -> None:
        if self._only and told.status is not None:
            self._status = told.status
        if self._as_json:
            document = self._redactor.redact_all(told.document)
            print(json.dumps(document, ensure_ascii=True), flush=True)
            return
        about = f"{told.time[_CLOCK : _CLOCK + 8]} {told.key}".strip()
        for words in self._words(told):
            print(show.line(f"{about}  {words}"))
        sys.stdout.flush()

    def _words(self, told: Told) -> Sequence[str]:
        text = self._redactor.redact("\n".join(told.words))
        return [line.expandtabs() for line in text.split("\n")]

    def _tell_left(self) -> None:
        for why, count in self._left.items():
            show.note(f"{self._queue.name}: left there, {count}: {why}")
