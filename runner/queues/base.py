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
* Every failure of the broker is ``QueueUnavailable``, a refused credential or a missing right its
  ``QueueDenied``, whose sentence names the right and the remedy. No SDK exception crosses the seam.
* A message that exists no more raises ``MessageGone``, where the broker can tell: nobody else has
  it either, and a run may go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner.errors import Unsupported
from runner.model import Message
from runner.queues.choice import Choice
from runner.queues.credential import Credential
from runner.queues.drawer import DeadLetter, Drawer
from runner.queues.mailbox import Mailbox


class Delivery(ABC):
    """A message that we hold."""

    #: The broker gives each message an id of its own; else two that say the same have one.
    has_own_id: bool = True

    def __init__(self, message: Message, *, token: str, lease: timedelta) -> None:
        self.message = message
        #: Enough, with the message, to hold the delivery again after a restart of the daemon.
        self.token = token
        #: How long the broker waits for the next ``extend``.
        self.lease = lease
        #: How long the broker lets anybody hold this message from now on, however often it is
        #: extended: the broker's ceiling, or what is left of the queue's retention. ``None``: as
        #: long as one likes.
        self.hold_limit: timedelta | None = None

    @property
    def is_ageing(self) -> bool:
        """``hold_limit`` is near, and a fresh message would begin anew: ``send_on``, ``leave``.

        Never where the broker has no such limit, or a fresh message would do harm: Pub/Sub gives
        every subscription a copy, and in a FIFO queue of SQS it would be the last of its group.
        """
        return False

    async def send_on(self, mark: str) -> str:
        """Send the body as a fresh message that bears ``mark``, and return its id.

        This one stays held. Raises QueueUnavailable, Unsupported.
        """
        raise Unsupported(f"a message of queue {self.message.queue} is not sent on ({mark})")

    async def leave(self) -> None:
        """Have the broker forget this message: a fresh one stands for it, which nobody holds.

        From then on there is nothing to ``extend``, settling raises LeaseLost, and ``hold_limit``
        is the fresh one's. Raises LeaseLost, QueueUnavailable.
        """
        raise Unsupported(f"no other message stands for that of queue {self.message.queue}")

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


@dataclass(frozen=True, slots=True)
class Rights:
    """What a credential has no right to, in sentences that name the right and what it is for."""

    #: Without these no experiment is taken, kept or settled.
    missing: tuple[str, ...] = ()
    #: Without these it works, but less well.
    wanting: tuple[str, ...] = ()
    #: The name of a right that only its use would show.
    untold: str = ""


class Queue(ABC):
    """One queue that we take from."""

    #: Seconds that one ``take`` lasts at most: a long poll's length, or a moment where ``ready``
    #: knows and another runner may be faster.
    patience: float = 20.0
    #: Seconds within which a receive brings a message that is there. So long it has a slot to
    #: itself; after that many open receives wait beside each other for the slots that are free.
    glance: float = 0.5
    #: ``ready`` waits for a message. Where it returns at once, only receiving tells.
    tells: bool = False

    def __init__(self, name: str, *, broker: str, project: str) -> None:
        #: Short name, as clients write it.
        self.name = name
        #: Registry name of the backend: ``local``, ``sqs`` …
        self.broker = broker
        #: Whose queue it is: a credential's identity, or the root of local queues.
        self.project = project

    @property
    def address(self) -> str:
        """Say which queue of the world it is: two credentials that show it give the same."""
        return f"{self.broker}:{self.project}/{self.name}"

    async def ready(self) -> None:  # noqa: B027 - most brokers cannot tell
        """Wait until a message may be there; a broker that cannot tell returns at once.

        It costs no room: only a queue that is ready takes a slot and receives.
        """

    @abstractmethod
    async def receive(self) -> Delivery:
        """Wait for the oldest visible message and hold it."""

    async def take(self) -> Delivery | None:
        """Receive for ``patience`` seconds at most; ``None``: there was nothing.

        A broker whose polls end by themselves overrides it: a poll that is cut off may have taken a
        message with it, which is then hidden for a while.
        """
        with anyio.move_on_after(self.patience):
            return await self.receive()
        return None

    @abstractmethod
    async def adopt(self, message: Message, token: str) -> Delivery:
        """Hold again what this daemon's predecessor held. Raises LeaseLost."""

    async def depth(self) -> int | None:
        """Count the waiting messages; ``None`` where the broker does not tell."""
        return None

    async def rights(self) -> Rights | None:
        """Ask what the credential lacks, and neither receive, hold nor change anything.

        ``None``: the broker does not tell. Raises QueueUnavailable.
        """
        return None


class Inspectable(ABC):
    """A queue that can be looked into, for the commands; on some brokers looking leaves a trace."""

    #: What looking does to the messages, in a sentence for people; empty: nothing.
    peek_costs: str = ""

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
        """Add a message as a client would and return its id; the queue is made if there is none."""

    @abstractmethod
    async def purge(self) -> int | None:
        """Remove all waiting messages; return how many, or ``None`` where nobody tells."""


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """What every broker is made with, besides its credential."""

    #: Unique to this daemon's state directory, stable over restarts; for people.
    owner: str
    choice: Choice
    #: How long a message stays ours without ``extend``; tests shorten it to seconds.
    lease: timedelta
    #: How often the broker is asked for its queues.
    refresh: timedelta
    #: Limit of one call that is no long poll.
    timeout: timedelta
    #: Where messages are buried for which the broker has no place.
    drawer: Drawer


class Broker(AbstractAsyncContextManager["Broker"], ABC):
    """One account of one broker, opened and closed with ``async with``; opening asks nobody.

    Made as ``Backend(credential, options)``. Closing leaves what is held held.
    """

    #: Registry name.
    name: str
    #: Identity of the account in logs, and the scope of environments whose build ran code.
    project: str
    #: Names that the last discovery saw and did not choose.
    left: frozenset[str] = frozenset()

    @abstractmethod
    def discover(self) -> AsyncIterator[frozenset[str]]:
        """Yield the names of the queues to take from now, and again whenever the set changes.

        Queues that are named (``Choice.named``, ``Credential.queues``) need no right to list.
        Raises QueueUnavailable; asked anew, it goes on.
        """

    @abstractmethod
    async def open(self, queue: str) -> Queue:
        """Return a queue by name; the same object for the same name. Asks nobody."""

    @abstractmethod
    async def exists(self, queue: str) -> bool:
        """Ask the broker about one queue; ``False`` only for its definite no.

        Whoever may not ask, or reaches nobody, has no answer: QueueUnavailable.
        """

    def mailbox(self, queue: str) -> Mailbox | None:  # noqa: ARG002 - most have one
        """Return the response queue of a queue, which need not exist; asks nobody.

        ``None``: the broker knows no such thing. Raises Misconfigured.
        """
        return None

    async def renew(self, credential: Credential) -> None:
        """Use another credential of the same scope from now on, for what is held as well.

        Nothing that is held is lost by it, and no open receive is cut off before it has ended.
        """
