"""The SQS broker: the queues of one account and region."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from runner.errors import QueueDenied, QueueGone
from runner.queues.base import Broker, BrokerOptions
from runner.queues.credential import AwsCredential, Credential
from runner.queues.sqs.account import Account
from runner.queues.sqs.discovery import Discovery
from runner.queues.sqs.mailbox import SqsMailbox
from runner.queues.sqs.queue import Parts, SqsQueue
from runner.queues.sqs.terms import Terms
from runner.queues.sqs.trouble import NotToSay

#: The longest poll that SQS has.
_WAIT = timedelta(seconds=20)


class SqsBroker(Broker):
    """One open poll is one thread and one connection; calls share 16 of both in each event loop.

    Closing cuts the polls that are open: a message that one of them takes at that moment is visible
    again after the short visibility.
    """

    name = "sqs"

    def __init__(
        self,
        credential: AwsCredential,
        options: BrokerOptions,
        *,
        wait: timedelta = _WAIT,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> None:
        """``wait``: of one poll, whole seconds, 20 at most."""
        self.project = credential.scope
        self._options = options
        self._terms = terms
        self._wait = int(wait.total_seconds())
        self._account = Account(credential, options.timeout)
        self._discovery = Discovery(self._account, options.choice)
        self._queues: dict[str, SqsQueue] = {}
        self._group: anyio.abc.TaskGroup | None = None
        self._renewed = anyio.Event()

    async def __aenter__(self) -> Self:
        """Ask nobody."""
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the open polls; what is held stays held and can still be settled."""
        del kind, error, trace  # in the group's hands they would become a group of exceptions
        if self._group is not None:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
        self._account.close()

    async def discover(self) -> AsyncIterator[frozenset[str]]:
        """Yield the names of the queues to take from, looked at in every ``refresh``."""
        known: frozenset[str] | None = None
        while True:
            news = self._renewed
            urls, self.left = await self._discovery.look()
            for name, url in urls.items():
                (await self.open(name)).found_at(url)
            found = frozenset(urls)
            if found != known:
                known = found
                yield found
            with anyio.move_on_after(self._options.refresh.total_seconds()):
                await news.wait()

    async def open(self, queue: str) -> SqsQueue:
        """Return a queue by its short name."""
        if queue not in self._queues:
            if self._group is None:
                raise RuntimeError("the broker is used outside its async with block")
            parts = Parts(self._account, self._options, self._group, self._wait, self._terms)
            self._queues[queue] = SqsQueue(queue, self.project, parts)
        return self._queues[queue]

    def mailbox(self, queue: str) -> SqsMailbox:
        """Return the response queue in the same account and region."""
        return SqsMailbox(queue, self._account)

    async def exists(self, queue: str) -> bool:
        """Ask for the queue's attributes; SQS shows a deleted queue for up to a minute."""
        try:
            await (await self.open(queue)).check()
        except NotToSay as error:
            return await self._is_listed(queue, error)
        except QueueGone:
            return False
        return True

    async def renew(self, credential: Credential) -> None:
        """Use another credential for every call from now on; open polls end as they began."""
        if not isinstance(credential, AwsCredential) or credential.scope != self.project:
            raise ValueError(f"{credential.scope} is not the account {self.project}")
        self._account.renew(credential)
        news, self._renewed = self._renewed, anyio.Event()
        news.set()

    async def _is_listed(self, queue: str, error: NotToSay) -> bool:
        """Let the list of queues decide between what does not exist and what may not be seen."""
        try:
            return queue in await self._discovery.listed(queue)
        except QueueDenied:
            raise QueueDenied(str(error)) from error
