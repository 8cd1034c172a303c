"""The Pub/Sub broker: the subscriptions of one Google Cloud project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import anyio

from runner import log
from runner.errors import Misconfigured, QueueDenied, QueueGone
from runner.queues.base import Broker, BrokerOptions
from runner.queues.credential import Credential, GoogleCredential
from runner.queues.pubsub import names
from runner.queues.pubsub.facts import FactBook, facts_of
from runner.queues.pubsub.identity import Identity
from runner.queues.pubsub.lines import Lines
from runner.queues.pubsub.mailbox import PubsubMailbox
from runner.queues.pubsub.queue import PubsubQueue
from runner.queues.pubsub.service import Service
from runner.queues.pubsub.subscription import Subscription, lease_of

_log = log.get_logger(__name__)


class PubsubBroker(Broker):
    """Queues are called by their subscription's id; of another project, by its path."""

    name = "pubsub"

    def __init__(self, credential: GoogleCredential, options: BrokerOptions) -> None:
        self.project = credential.project
        self._options = options
        self._credential = credential
        self._lines = Lines(Identity(credential))
        self._service = Service(self.project, self._lines, options.timeout)
        self._book = FactBook()
        self._queues: dict[str, PubsubQueue] = {}
        self._complaint = ""

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the open pulls; deliveries stay held and can still be kept and settled."""
        # The body's exception does not pass through the group: it would arrive wrapped.
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            await self._lines.close()

    async def discover(self) -> AsyncIterator[frozenset[str]]:
        """Yield the subscriptions to take from, and again whenever they change.

        Named ones need no right to list: where it is missing, they are all there is.
        """
        known: frozenset[str] | None = None
        while True:
            found = await self._look()
            if found != known:
                known = found
                yield found
            await anyio.sleep(self._options.refresh.total_seconds())

    async def open(self, queue: str) -> PubsubQueue:
        """Return a queue by id or path. Raises Misconfigured."""
        name = names.short(self.project, queue)
        if name not in self._queues:
            self._queues[name] = self._made(name)
        return self._queues[name]

    def mailbox(self, queue: str) -> PubsubMailbox:
        """Return the response topic in the subscription's project. Raises Misconfigured."""
        return PubsubMailbox(names.short(self.project, queue), self._service)

    async def exists(self, queue: str) -> bool:
        """Ask for the subscription; one that has outlived its topic still exists."""
        path = names.subscription_path(self.project, names.short(self.project, queue))
        try:
            found = await self._service.subscription(path)
        except QueueGone:
            return False
        self._book.note(path, facts_of(found))
        return True

    async def renew(self, credential: Credential) -> None:
        """Open new connections from now on; pulls that are open end on the old ones."""
        if not isinstance(credential, GoogleCredential) or credential.scope != self.project:
            raise Misconfigured(f"{credential.origin} is no credential of {self.project}")
        self._credential = credential
        self._lines.renew(Identity(credential))

    async def _look(self) -> frozenset[str]:
        named = self._named()
        try:
            subscriptions = await self._service.subscriptions()
        except QueueDenied as error:
            if not named:
                raise
            self._complain(str(error))
            return named
        self._complain("")
        pullable = set()
        for subscription in subscriptions:
            facts = facts_of(subscription)
            self._book.note(subscription.name, facts)
            if facts.is_pullable:
                pullable.add(subscription.name.rpartition("/")[2])
        seen = frozenset(one.name.rpartition("/")[2] for one in subscriptions)
        chosen, _ = self._options.choice.divide(pullable)
        taken = frozenset(name for name in chosen if not names.is_response(name)) | named
        self.left = seen - taken
        return taken

    def _named(self) -> frozenset[str]:
        wanted = (*self._options.choice.named, *self._credential.queues)
        return names.short_names(self.project, wanted)

    def _complain(self, trouble: str) -> None:
        if trouble and trouble != self._complaint:
            _log.warning("only the queues that are named are taken", trouble=trouble)
        self._complaint = trouble

    def _made(self, name: str) -> PubsubQueue:
        path = names.subscription_path(self.project, name)
        subscription = Subscription(path, self._service, self._book, self._options.drawer)
        lease = lease_of(self._options.lease)
        return PubsubQueue(name, subscription, self._service, self._group, lease)
