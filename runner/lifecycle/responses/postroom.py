"""Takes reports and has them sent in the background, by one sender for each response queue."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from runner import log
from runner.lifecycle.chore import Chore
from runner.lifecycle.responses import documents
from runner.lifecycle.responses.outbox import Letter
from runner.lifecycle.responses.responses import Post, Responses, Subject
from runner.lifecycle.responses.sealing import Sealing
from runner.lifecycle.responses.sender import Office, Sender
from runner.queues.mailbox import Mailbox
from runner.redaction import Redactor

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_log = log.get_logger(__name__)

Account = tuple[str, str]
"""Broker and project."""

#: Seconds that a daemon which ends waits for the last reports to go out.
_FLUSH = 1.0
#: Calls of one account at a time: a dead one must not use up the threads of its broker.
_AT_A_TIME = 4
#: Response queues that are remembered.
_MOST = 1000


class Postroom(Responses):
    """Posts reports where a response queue exists and the rule allows it.

    ``post`` costs the time to write JSON; whatever brokers do, nobody else waits for them. What
    cannot be sent for long, or does not fit, is lost: it is counted, logged, and told to the reader
    as soon as there is one.
    """

    is_on = True

    def __init__(
        self,
        host: str,
        sealing: Sealing,
        mailbox_of: Callable[[Account, str], Mailbox | None],
        redactor: Redactor,
        *,
        used: Callable[[Account], AbstractContextManager[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``mailbox_of`` takes account and queue; raises QueueUnavailable while it is not open.

        ``used`` keeps an account's broker open inside its block.
        """
        self._office = Office(host, sealing, clock)
        self._mailbox_of = mailbox_of
        self._redactor = redactor
        self._used = used
        self._senders: dict[tuple[Account, str], Sender] = {}
        self._limiters: dict[Account, anyio.CapacityLimiter] = {}
        self._group: TaskGroup | None = None
        self._progress = anyio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Send while the block runs, and for a moment after it."""
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None
                with anyio.CancelScope(shield=True):
                    await self._flush()
                group.cancel_scope.cancel()

    def wants(self, subject: Subject) -> bool:
        """Tell whether nothing says that nobody reads; who does not know yet, says yes."""
        sender = self._senders.get(_place(subject))
        return sender is None or not sender.is_closed

    def post(self, subject: Subject, posts: Sequence[Post]) -> None:
        """Put reports into the outbox."""
        if self._group is not None and self.wants(subject):
            letters = [self._letter(subject, post) for post in posts]
            self._sender(self._group, _place(subject)).put(letters)

    # ------------------------------------------------------------------ inside

    def _letter(self, subject: Subject, post: Post) -> Letter:
        document = documents.report(
            post.payload if post.is_masked else self._redactor.redact_all(post.payload),
            post.at,
            executor=self._office.host,
            experiment=self._redactor.redact(subject.key) if post.names_it else "",
            unique=subject.unique if post.names_it else "",
        )
        body = documents.encoded(document)
        return Letter(body, self._office.clock(), post.matters, subject.is_sealed)

    def _sender(self, group: TaskGroup, place: tuple[Account, str]) -> Sender:
        """Return the sender of a place, begun where it is new."""
        known = self._senders.get(place)
        if known is not None:
            return known
        account, queue = place
        self._forget_some()
        sender = self._senders[place] = Sender(
            queue,
            self._office,
            lambda: self._mailbox_of(account, queue),
            lambda: self._used(account),
            self._limiters.setdefault(account, anyio.CapacityLimiter(_AT_A_TIME)),
        )
        sending = partial(sender.run, self._tell)
        group.start_soon(Chore(f"sending reports to {queue}", sending).keep)
        return sender

    def _forget_some(self) -> None:
        """Queues come and go: let those go for which nothing waits."""
        if len(self._senders) >= _MOST:
            for place in [place for place, one in self._senders.items() if one.is_idle]:
                self._senders.pop(place).end()

    def _tell(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()

    async def _flush(self) -> None:
        with anyio.move_on_after(_FLUSH):
            while not all(sender.is_idle for sender in self._senders.values()):
                await self._progress.wait()
        if left := sum(sender.left for sender in self._senders.values()):
            _log.warning("reports are lost", count=left)
        for sender in self._senders.values():
            sender.end()


def _place(subject: Subject) -> tuple[Account, str]:
    return (subject.broker, subject.project), subject.queue
