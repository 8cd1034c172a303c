"""Where reports about a queue's experiments go: its response queue (protocol section 2.10).

Nobody here makes one by sending to it. Promises, held by ``tests/contracts/mailboxes.py``:

* ``post`` adds the bodies in their order, all of them, where the response queue exists; where it
  does not it raises ``QueueGone``, and nothing was made.
* ``make`` makes it as a StudioML client would, and leaves one alone that is there.
* What was posted is received from the queue that is called ``reads``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

#: What follows the name of a queue in that of its response queue.
SUFFIX = "_response"
#: What follows the name of a topic in that of its subscription, where clients made both.
_SUBSCRIPTION = "_sub"
_FIFO = ".fifo"


class Mailbox(ABC):
    """The response queue of one queue, which need not exist."""

    #: Messages that one ``post`` takes at most.
    most: int = 100
    #: Bytes that all of them may have together.
    longest: int = 1 << 20

    def __init__(self, name: str, reads: str) -> None:
        #: What it is called; keys are found by it.
        self.name = name
        #: The name of the queue that brings what was posted.
        self.reads = reads

    @abstractmethod
    async def post(self, bodies: Sequence[bytes]) -> None:
        """Add text messages. Raises QueueGone, QueueDenied, QueueUnavailable, Unsupported."""

    @abstractmethod
    async def make(self) -> None:
        """Make it where it is not there. Raises QueueUnavailable, QueueDenied."""


def response_name(queue: str) -> str:
    """Return the name of a queue's response queue; of one of SQS' FIFO queues it is one, too."""
    return f"{queue.removesuffix(_FIFO)}{SUFFIX}{_FIFO if queue.endswith(_FIFO) else ''}"


def response_topic(subscription: str) -> str:
    """Return the id of the topic that reports about a subscription's experiments go to."""
    return f"{subscription.removesuffix(_SUBSCRIPTION)}{SUFFIX}"


def reading_name(broker: str, queue: str) -> str:
    """Return the name of what is read to get a queue's reports: where it is one, itself."""
    if is_response(queue):
        return queue
    if broker == "pubsub":
        is_clients = queue.endswith(_SUBSCRIPTION)
        return f"{response_topic(queue)}{_SUBSCRIPTION if is_clients else ''}"
    return response_name(queue)


def is_response(queue: str) -> bool:
    """Tell whether this is the name of a response queue: nobody takes experiments from it."""
    return queue.removesuffix(_FIFO).removesuffix(_SUBSCRIPTION).endswith(SUFFIX)


def queue_of(response: str) -> str:
    """Return the name of the queue whose reports are read from this one, which may be it."""
    for ending in ("", _SUBSCRIPTION, _FIFO):
        if response.endswith(SUFFIX + ending):
            return response.removesuffix(SUFFIX + ending) + ending
    return response
