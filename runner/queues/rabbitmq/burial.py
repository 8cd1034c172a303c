"""Where messages are buried: with their queue's owner, else in our drawer."""

from __future__ import annotations

import time
from collections.abc import Callable

from runner import blocking, log
from runner.errors import QueueUnavailable
from runner.model import Message
from runner.queues.drawer import Drawer
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.channel import Arrived
from runner.queues.rabbitmq.line import Line
from runner.queues.rabbitmq.management import Management
from runner.queues.reasons import shortened

_log = log.get_logger(__name__)

#: Blocking calls for dead letters, which are few.
DRAWER = blocking.Limit(2)
#: Bytes: all headers of a message share one frame, of which brokers allow 4 KiB at the least.
_LONGEST_REASON = 2000


class Burial:
    """Of one queue."""

    def __init__(
        self, line: Line, management: Callable[[], Management], drawer: Drawer, address: str
    ) -> None:
        self._line = line
        self._management = management
        self._drawer = drawer
        self._address = address

    async def __call__(self, message: Message, original: Arrived, reason: str) -> None:
        """Return when the message lies somewhere safe. Raises HostFault."""
        try:
            if await self._by_owner(message, original, reason):
                return
        except QueueUnavailable as error:
            _log.info("no dead letter with its owner", queue=message.queue, trouble=str(error))
        await blocking.call(
            lambda _: self._drawer.put(self._address, message, reason), limit=DRAWER
        )

    async def _by_owner(self, message: Message, original: Arrived, reason: str) -> bool:
        """Publish where the queue's owner wants dead letters; ``False``: nobody takes them."""
        place = await self._management().dead_letters_of(message.queue)
        if place is None:
            return False
        exchange, key = place
        properties = parking.copy_of(
            original.properties,
            message.id,
            message.receive_count,
            reason=shortened(reason, _LONGEST_REASON),
            queue=message.queue,
            buried_at=int(time.time()),
        )
        # On a channel of its own: an exchange that is not there closes it.
        async with self._line.lent() as channel:
            return await channel.publish(original.body, properties, queue=key, exchange=exchange)
