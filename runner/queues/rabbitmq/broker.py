"""The RabbitMQ broker: one user of one virtual host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import anyio

from runner import log
from runner.errors import Misconfigured, QueueDenied, QueueUnavailable
from runner.queues.addresses import parse
from runner.queues.base import Broker, BrokerOptions
from runner.queues.credential import AmqpCredential, Credential
from runner.queues.rabbitmq.account import account_of
from runner.queues.rabbitmq.boundary import Forbidden, Impossible, NoSuchQueue
from runner.queues.rabbitmq.burial import Burial
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.line import Line
from runner.queues.rabbitmq.mailbox import RabbitMailbox
from runner.queues.rabbitmq.management import Management
from runner.queues.rabbitmq.queue import RabbitQueue

_log = log.get_logger(__name__)


class RabbitBroker(Broker):
    """Its connection lives in the engine's thread, together with those of its like."""

    name = "rabbitmq"

    def __init__(self, credential: AmqpCredential, options: BrokerOptions) -> None:
        """Ask nobody yet. Raises Misconfigured for a credential that names no broker."""
        self.project = credential.scope
        self._options = options
        self._timeout = options.timeout.total_seconds()
        self._account = account_of(credential)
        self._named = _named(credential)
        self._management = Management(self._account, timeout=self._timeout)
        self._line = Line(
            self._account, owner=options.owner, timeout=self._timeout, lease=options.lease
        )
        #: A report that is not confirmed in time ends its connection, and must end no other.
        self._posting = Line(
            self._account,
            owner=f"{options.owner}, reports",
            timeout=self._timeout,
            lease=options.lease,
        )
        self._queues: dict[str, RabbitQueue] = {}
        #: What the management interface said last.
        self._listed: frozenset[str] = frozenset()
        self._is_denied = False
        #: In which connection a queue was last seen to exist.
        self._seen: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        """Start the thread that connections live in, unless another broker has."""
        ENGINE.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection: what is parked stays so for its lease, for the next daemon."""
        with anyio.CancelScope(shield=True):
            await ENGINE.run(self._posting.close)
            await ENGINE.run(self._line.close)
            await ENGINE.stop()
        self._management.close()

    async def discover(self) -> AsyncIterator[frozenset[str]]:
        """Yield the queues bound to StudioML's exchange that are chosen, and the named ones.

        Named queues need no right to list, but must exist. Where listing is denied they are all.
        Raises QueueUnavailable, QueueDenied.
        """
        known: frozenset[str] | None = None
        while True:
            trouble: QueueUnavailable | None = None
            try:
                self._listed = await self._list()
                self._seen |= dict.fromkeys(self._listed, self._line.epoch)
            except QueueUnavailable as error:
                trouble = error
            named = await self._existing(self._names)
            taken, left = self._options.choice.divide(self._listed)
            self.left = left - named
            if (found := taken | named) != known and not (trouble and not found):
                known = found
                yield found
            if trouble is not None:
                raise trouble
            await anyio.sleep(self._options.refresh.total_seconds())

    async def open(self, queue: str) -> RabbitQueue:
        """Return a queue, which need not exist yet."""
        if queue not in self._queues:
            address = self._account.address_of(queue)
            self._queues[queue] = RabbitQueue(
                queue,
                project=self.project,
                address=address,
                line=self._line,
                burial=Burial(self._line, lambda: self._management, self._options.drawer, address),
                options=self._options,
            )
        return self._queues[queue]

    def mailbox(self, queue: str) -> RabbitMailbox:
        """Return the response queue in the same virtual host."""
        return RabbitMailbox(queue, self._posting)

    async def exists(self, queue: str) -> bool:
        """Ask the broker; ``False`` only while the connection lasts in which we saw the queue.

        A broker that was restarted has lost every queue that is not durable, which is no deletion;
        and from here a restart looks like any lost connection.
        """
        return await ENGINE.run(lambda: self._exists(queue))

    async def renew(self, credential: Credential) -> None:
        """Log in with another credential; what is held stays on the old connection.

        Raises Misconfigured.
        """
        if not isinstance(credential, AmqpCredential):
            raise Misconfigured(f"{credential.origin} is no credential of RabbitMQ")
        account = account_of(credential)
        self._account, self._named = account, _named(credential)
        self._management.close()
        self._management = Management(account, timeout=self._timeout)
        self._is_denied = False

        async def change() -> None:
            self._line.change(account)
            self._posting.change(account)

        await ENGINE.run(change)

    # ------------------------------------------------------------------ inside

    @property
    def _names(self) -> frozenset[str]:
        return self._options.choice.named | self._named

    async def _list(self) -> frozenset[str]:
        try:
            found = await self._management.bound()
        except QueueDenied as error:
            if not self._names:
                raise
            if not self._is_denied:
                _log.info("only named queues are taken", trouble=str(error))
            self._is_denied = True
            return frozenset()
        self._is_denied = False
        return found

    async def _existing(self, names: frozenset[str]) -> frozenset[str]:
        if not names:
            return frozenset()

        async def look() -> frozenset[str]:
            return frozenset([name for name in sorted(names) if await self._is_there(name)])

        return await ENGINE.run(look)

    async def _exists(self, queue: str) -> bool:
        before, epoch = self._seen.get(queue), self._line.epoch
        if await self._is_there(queue):
            return True
        if before is not None and not before == epoch == self._line.epoch:
            raise QueueUnavailable(
                f"queue {queue} is not there since the connection was lost: whether it was "
                "deleted, or the broker restarted without it, cannot be told"
            )
        return False

    async def _is_there(self, queue: str) -> bool:
        try:
            async with self._line.lent() as channel:
                await channel.standing(queue)
        except NoSuchQueue:
            return False
        except (Forbidden, Impossible):  # somebody's own, but there
            pass
        self._seen[queue] = self._line.epoch
        return True


def _named(credential: AmqpCredential) -> frozenset[str]:
    """Return the queues that lie beside the credential, by name. Raises Misconfigured."""
    return frozenset(
        parse(text, plain="rabbitmq", option=f"a queue of {credential.origin}").name
        for text in credential.queues
    )
