"""The seam to brokers: a Broker finds queues, a Queue gives Deliveries, a Delivery is settled once.

Promises in terms of time, held by ``tests/contracts/queues.py`` for every backend:

* ``Queue.receive`` that is cancelled holds nothing: the message it might have taken is visible
  again at once, or after the short visibility of an open receive.
* Between ``receive`` and settling nobody else gets the message, as long as ``extend`` is called at
  least once per ``lease``. Without ``extend`` it comes back after ``lease``.
* ``extend`` and the settling calls run on the keeper's event loop, which is not the loop that
  received; they never wait for the main loop.
* A Delivery is settled exactly once by ``ack``, ``release`` or ``bury``; a second settling of the
  same object is a no-op. Settling a lease that is lost raises ``LeaseLost``.
* Every failure of the broker is ``QueueUnavailable``; no SDK exception crosses the seam.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from runner.model import Message


class Delivery(ABC):
    """A message that we hold."""

    def __init__(self, message: Message, *, token: str, lease: timedelta) -> None:
        self.message = message
        #: Enough, with the message, to hold the delivery again after a restart of the daemon.
        self.token = token
        #: How long the broker waits for the next ``extend``.
        self.lease = lease

    @abstractmethod
    async def extend(self) -> None:
        """Keep the message for another ``lease``. Raises LeaseLost, QueueUnavailable."""

    @abstractmethod
    async def ack(self) -> None:
        """Tell the broker to forget the message."""

    @abstractmethod
    async def release(self, delay: timedelta) -> None:
        """Give the message back; others see it after ``delay``, or at once where it is zero."""

    @abstractmethod
    async def bury(self, reason: str) -> None:
        """Move the message to the dead letters, body unchanged, ``reason`` beside it."""


class Queue(ABC):
    """One queue that we take from."""

    #: Seconds that ``receive`` may hold a slot without a message before the slot is given back: a
    #: long poll's length, or a moment where ``ready`` knows and another runner may be faster.
    patience: float = 20.0

    def __init__(self, name: str, *, broker: str, project: str) -> None:
        #: Short name, as clients write it.
        self.name = name
        #: Registry name of the backend: ``local``, ``sqs`` …
        self.broker = broker
        #: Whose queue it is: a credential's identity, or the root of local queues.
        self.project = project

    async def ready(self) -> None:  # noqa: B027 - most brokers cannot tell
        """Wait until a message may be there; a broker that cannot tell returns at once.

        It costs no room: only a queue that is ready takes a slot and receives.
        """

    @abstractmethod
    async def receive(self) -> Delivery:
        """Wait for the oldest visible message and hold it."""

    @abstractmethod
    async def adopt(self, message: Message, token: str) -> Delivery:
        """Hold again what this daemon's predecessor held. Raises LeaseLost."""

    async def depth(self) -> int | None:
        """Count the waiting messages; ``None`` where the broker does not tell."""
        return None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A buried message with the reason it was buried for."""

    message: Message
    reason: str
    #: Seconds since the epoch.
    buried_at: float


class Inspectable(ABC):
    """A queue that can be looked into without taking anything; local queues are."""

    @abstractmethod
    async def peek(self, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` waiting messages, oldest first, without holding them."""

    @abstractmethod
    async def dead(self) -> Sequence[DeadLetter]:
        """Return the dead letters, oldest first."""

    @abstractmethod
    async def requeue(self, message_id: str) -> bool:
        """Make a dead letter a waiting message again; ``False`` when there is none of that id."""

    @abstractmethod
    async def publish(self, body: bytes) -> str:
        """Add a message as a client would and return its id."""


class Broker(AbstractAsyncContextManager["Broker"], ABC):
    """A connection to one account of one broker, opened and closed with ``async with``."""

    #: Registry name.
    name: str
    #: Identity of the account in logs, and the scope of environments whose build ran code.
    project: str

    @abstractmethod
    def discover(self) -> AsyncIterator[frozenset[str]]:
        """Yield the names of all queues now, and again whenever the set changes."""

    @abstractmethod
    async def open(self, queue: str) -> Queue:
        """Return a queue by name."""
