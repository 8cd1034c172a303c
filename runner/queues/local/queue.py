"""A local queue: its messages are taken oldest first, and it can be looked into."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import msgspec

from runner.errors import LeaseLost
from runner.model import Message
from runner.queues.base import Delivery, Inspectable, Queue
from runner.queues.drawer import DeadLetter
from runner.queues.local import claims, counts, letters, names
from runner.queues.local.bell import Bell
from runner.queues.local.caretaker import Caretaker
from runner.queues.local.delivery import LocalDelivery
from runner.queues.local.draft import write_message
from runner.queues.local.lane import Lane, Taken
from runner.queues.local.places import Places
from runner.queues.mailbox import is_response

#: A message that is no complete JSON is delivered once its file has not changed for so long.
_STABLE = 0.5
_LOOK_AGAIN = 0.05
#: Then the file goes back, and messages that are complete have their turn.
_PATIENCE = 30.0


class LocalQueue(Queue, Inspectable):
    """Usually one directory; the queue ``local`` also has what lies directly in the root."""

    #: ``ready`` knows; longer than it takes to see that an unfinished file is not being written.
    patience = glance = 2.0
    tells = True

    def __init__(self, name: str, caretaker: Caretaker) -> None:
        super().__init__(name, broker="local", project=str(caretaker.root))
        self._caretaker = caretaker
        self._lanes = [Lane(Places.of(caretaker.root, name))]
        if name == names.FLAT_QUEUE:
            self._lanes.append(Lane(Places.flat(caretaker.root)))
        #: Reports are no JSON where they are sealed, and appear by a rename.
        self._is_written_whole = is_response(name)
        self._bell = Bell()
        self._opening = anyio.Lock()
        self._serving = False

    async def ready(self) -> None:
        """Wait until the index knows of a message; another runner may still be faster."""
        await self._serve()
        while True:
            news = self._bell.listen()
            if self._may_have_messages():
                return
            await news.wait()

    async def receive(self) -> Delivery:
        """Wait for the oldest message; a queue without a directory is waited for as well."""
        await self._serve()
        while True:
            news = self._bell.listen()
            taken = await self._take()
            if taken is None:
                await news.wait()
                continue
            delivery = await self._deliver(*taken)
            if delivery is not None:
                return delivery

    async def adopt(self, message: Message, token: str) -> Delivery:
        """Beat for a claim of this daemon's predecessor."""
        if names.message_of(token) != message.id:
            raise LeaseLost(f"{token[:80]!r} is no claim on message {message.id}")
        for lane in self._lanes:
            delivery = LocalDelivery(message, claims.Claim(lane.places, token), self._caretaker)
            try:
                await delivery.extend()
            except LeaseLost:
                continue
            return delivery
        raise LeaseLost(f"message {message.id} of queue {self.name} is no longer ours")

    async def depth(self) -> int:
        """Count the waiting messages; held and delayed ones are not among them."""
        return await self._caretaker.call(
            lambda: sum(len(lane.places.look()[0]) for lane in self._lanes)
        )

    async def peek(self, limit: int) -> Sequence[Message]:
        """Read the oldest messages; ``receive_count`` is 0 for one that nobody had yet."""
        return await self._caretaker.call(lambda: self._peek(limit))

    async def dead(self) -> Sequence[DeadLetter]:
        """Read the dead letters."""

        def read() -> list[DeadLetter]:
            found = [letter for lane in self._lanes for letter in letters.all_of(lane.places)]
            return sorted(found, key=lambda letter: letter.buried_at)

        return await self._caretaker.call(read)

    async def requeue(self, message_id: str) -> bool:
        """Put a dead letter back at its old place; a deleted queue is made again."""
        return await self._caretaker.call(
            lambda: any(letters.revive(lane.places, message_id) for lane in self._lanes)
        )

    async def publish(self, body: bytes) -> str:
        """Write a message, whole or not at all; the queue is made if there is none."""
        name = str(uuid.uuid4())
        places = self._lanes[0].places
        await self._caretaker.call(lambda: write_message(places, name, body))
        return name

    async def purge(self) -> int:
        """Remove the messages that wait; what is held or delayed stays."""
        return await self._caretaker.call(
            lambda: sum(_emptied(lane.places) for lane in self._lanes)
        )

    async def _serve(self) -> None:
        async with self._opening:
            if self._serving:
                return
            for lane in self._lanes:
                await self._caretaker.serve(lane, self._bell)
            self._serving = True

    async def _take(self) -> tuple[Lane, Taken] | None:
        if not self._may_have_messages():
            return None
        return await self._caretaker.call(self._take_oldest)

    def _may_have_messages(self) -> bool:
        return any(len(lane.index) for lane in self._lanes)

    def _take_oldest(self) -> tuple[Lane, Taken] | None:
        while True:
            heads = [(head, lane) for lane in self._lanes if (head := lane.head())]
            if not heads:
                return None
            _, lane = min(heads, key=lambda pair: pair[0])
            taken = lane.take(self._caretaker.holder)
            if taken is not None:
                return lane, taken

    async def _deliver(self, lane: Lane, taken: Taken) -> Delivery | None:
        """Make a delivery of what was claimed, or give it back when we are cancelled."""
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
            body = await self._whole(taken)
        except LeaseLost:
            return None
        except BaseException:
            await self._caretaker.call(lambda: lane.give_back(taken))
            raise
        if body is None:
            await self._caretaker.call(lambda: lane.give_back(taken))
            return None
        message = Message(taken.claim.name, body, self.name, taken.times)
        return LocalDelivery(message, taken.claim, self._caretaker)

    async def _whole(self, taken: Taken) -> bytes | None:
        """Return the body once it is written; ``None`` when its writer takes too long.

        StudioML clients write in place; a rename does not disturb them, so what they still write
        arrives in the claimed file.
        """
        body, stamp = taken.body, taken.stamp
        now = began = unchanged_since = anyio.current_time()
        while (
            not (self._is_written_whole or _is_complete(body)) and now - unchanged_since < _STABLE
        ):
            if now - began > _PATIENCE:
                return None
            await anyio.sleep(_LOOK_AGAIN)
            body, seen = await self._caretaker.call(lambda: self._look_again(taken.claim))
            now = anyio.current_time()
            if seen != stamp:
                stamp, unchanged_since = seen, now
        return body

    def _look_again(self, claim: claims.Claim) -> tuple[bytes, claims.Stamp]:
        claims.keep(claim, self._caretaker.holder)
        return claims.read(claim)

    def _peek(self, limit: int) -> list[Message]:
        waiting = [(entry, lane) for lane in self._lanes for entry in lane.places.look()[1]]
        found: list[Message] = []
        for entry, lane in sorted(waiting, key=lambda pair: pair[0]):
            if len(found) == limit:
                break
            try:
                with (lane.places.messages / entry.name).open("rb") as file:
                    body = file.read(claims.LONGEST_BODY)
            except (FileNotFoundError, PermissionError):
                continue
            times = counts.read(lane.places, entry.name)
            found.append(Message(entry.name, body, self.name, times))
        return found


def _emptied(places: Places) -> int:
    removed = 0
    for entry in places.look()[1]:
        try:
            (places.messages / entry.name).unlink()
        except FileNotFoundError:  # somebody took it
            continue
        removed += 1
    return removed


def _is_complete(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
