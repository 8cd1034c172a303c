"""A queue of RabbitMQ: messages are sent to us, one for each that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from runner import blocking, log
from runner.errors import LeaseLost
from runner.model import Message
from runner.queues.base import BrokerOptions, Delivery, Inspectable, Queue, Rights
from runner.queues.drawer import DeadLetter
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.boundary import Forbidden, Impossible
from runner.queues.rabbitmq.burial import DRAWER, Burial
from runner.queues.rabbitmq.catching import Catcher, Caught
from runner.queues.rabbitmq.delivery import RabbitDelivery
from runner.queues.rabbitmq.engine import ENGINE
from runner.queues.rabbitmq.holding import Hold
from runner.queues.rabbitmq.inspection import Inspection
from runner.queues.rabbitmq.line import Line
from runner.queues.rabbitmq.parked import ParkedHold
from runner.queues.rabbitmq.rights import rights
from runner.queues.rabbitmq.unparked import UNPARKED, UnparkedHold

_log = log.get_logger(__name__)


class RabbitQueue(Queue, Inspectable):
    """Every verb hops to the engine's loop and back."""

    #: ``ready`` knows; another runner may still be faster.
    patience = glance = 2.0
    tells = True
    peek_costs = (
        "The messages are taken for a moment, in which no runner gets them, and are marked as "
        "redelivered, which a quorum queue counts."
    )

    def __init__(
        self,
        name: str,
        *,
        project: str,
        address: str,
        line: Line,
        burial: Burial,
        options: BrokerOptions,
    ) -> None:
        super().__init__(name, broker="rabbitmq", project=project)
        self._address = address
        self._line = line
        self._burial = burial
        self._drawer = options.drawer
        self._lease = options.lease
        self._catcher = Catcher(line, name)
        self._inspection = Inspection(line, name)
        self._has_complained = False

    @property
    def address(self) -> str:
        """Say host, port, virtual host and queue."""
        return self._address

    async def ready(self) -> None:
        """Wait until the broker has sent a message; it goes back if nobody takes it soon."""
        await ENGINE.run(self._catcher.ready)

    async def receive(self) -> Delivery:
        """Wait for a message and park it."""
        received: list[Hold] = []

        async def receive() -> None:
            received.append(await self._held())

        try:
            await ENGINE.run(receive)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                for hold in received:
                    await ENGINE.run(hold.put_back)
            raise
        return RabbitDelivery(received[0], self._burial)

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Take what this daemon's predecessor has parked; after a lease it has returned."""
        lease = parking.lease_of(token, self.name)
        if lease is None:
            why = "may make no queues to keep it in" if token.startswith(UNPARKED) else "has it not"
            raise LeaseLost(
                f"message {message.id} of queue {self.name} cannot be held again: the runner {why}"
            )
        hold = ParkedHold(self._line, self.name, message, lease, place=token)

        async def adopt() -> None:
            await hold.adopt()
            hold.begin()

        await ENGINE.run(adopt)
        return RabbitDelivery(hold, self._burial)

    async def depth(self) -> int:
        """Count the waiting messages; held and delayed ones are not among them."""
        return await ENGINE.run(self._inspection.depth)

    async def rights(self) -> Rights:
        """Try what is refused in any case, to see whether it is for want of a right."""
        return await ENGINE.run(lambda: rights(self._line, self.name))

    async def peek(self, limit: int) -> Sequence[Message]:
        """Take the oldest messages and give them back."""
        return await ENGINE.run(lambda: self._inspection.peek(limit))

    async def dead(self) -> Sequence[DeadLetter]:
        """Read our drawer; what lies with the queue's owner is for the owner to show."""
        return await blocking.call(lambda _: self._drawer.all_of(self.address), limit=DRAWER)

    async def requeue(self, message_id: str) -> bool:
        """Send a dead letter again, then forget it."""
        letter = await blocking.call(
            lambda _: self._drawer.take(self.address, message_id), limit=DRAWER
        )
        if letter is None:
            return False
        await ENGINE.run(lambda: self._inspection.publish(letter.message.body, message_id))
        await blocking.call(lambda _: self._drawer.remove(self.address, message_id), limit=DRAWER)
        return True

    async def publish(self, body: bytes) -> str:
        """Publish to StudioML's exchange, confirmed; a queue that is not there is made."""
        return await ENGINE.run(lambda: self._inspection.publish(body))

    async def purge(self) -> int:
        """Remove the messages that wait; what is held or delayed stays."""
        return await ENGINE.run(self._inspection.purge)

    # ------------------------------------------------------------------ on the engine's loop

    async def _held(self) -> Hold:
        while True:
            caught = await self._catcher.take()
            hold = await self._hold(caught)
            if hold is not None:
                hold.begin()
                return hold

    async def _hold(self, caught: Caught) -> Hold | None:
        """Hold what was caught; ``None``: it went back to the queue, and has to be caught anew."""
        if not self._line.parks:
            return self._unparked(caught)
        place = parking.place_for(self.name, self._lease)
        hold = ParkedHold(self._line, self.name, self._message(caught), self._lease, place=place)
        try:
            await hold.park(caught)
        except (Forbidden, Impossible) as error:
            await hold.unpark(caught)
            self._complain(str(error))
            self._line.parks = False
            return None
        except BaseException:
            await hold.unpark(caught)
            raise
        return hold

    def _unparked(self, caught: Caught) -> Hold:
        original = caught.original
        before = max(parking.deliveries_of(original.properties), int(original.is_redelivered))
        message = self._message(caught, before)
        return UnparkedHold(self._line, self.name, message, self._lease, caught=caught)

    def _message(self, caught: Caught, before: int = 0) -> Message:
        properties, body = caught.original.properties, caught.original.body
        receives = max(parking.receives_of(properties), before) + 1
        return Message(
            parking.id_of(properties, body),
            body,
            self.name,
            receives,
            traceparent=parking.traceparent_of(properties),
        )

    def _complain(self, trouble: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            _log.warning(
                "messages are held without parking: a restart of the daemon, or a lost "
                "connection, repeats their work; give the user the rights to configure, write and "
                "read queues called ^studio-runner\\. and to write to the exchange amq.default",
                queue=self.name,
                trouble=trouble,
            )
