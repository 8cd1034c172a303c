"""What holds a message: its receipt, and how long anybody can. Pure."""

from __future__ import annotations

import email.utils
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from runner.errors import LeaseLost, QueueUnavailable
from runner.model import Message
from runner.request.trace import TRACEPARENT

#: Nobody holds a message for longer, however often it is extended; SQS counts from the receive.
CEILING = timedelta(hours=12)
#: The last part of what a message can be held is for handing it over.
_LAST = 1 / 6
#: An open poll that nobody waits for any more costs its message no longer than this.
SHORT = timedelta(seconds=30)
#: Attribute of a message that a runner sent on; its value is ``Message.mark``.
MARK = "StudioRunner.Claim"
#: What is asked for with every message.
ATTRIBUTES = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "ApproximateFirstReceiveTimestamp",
    "MessageGroupId",
    "DeadLetterQueueSourceArn",
)
#: What SQS does not take in a text.
_UNTAKEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One hold; ``token`` carries it to the daemon's successor."""

    url: str
    #: Empty for a message that was sent on, and that nobody holds.
    handle: str
    #: Or sent on; seconds since the epoch, by our clock.
    received: float
    #: When the queue's retention ends the message's life, by our clock; ``None``: nobody told.
    vanishes: float | None = None
    #: Of a FIFO queue.
    group: str = ""

    @property
    def token(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, token: str) -> Receipt:
        """Read what ``token`` wrote. Raises LeaseLost."""
        try:
            told = json.loads(token)
            vanishes = told["vanishes"]
            return cls(
                url=str(told["url"]),
                handle=str(told["handle"]),
                received=float(told["received"]),
                vanishes=None if vanishes is None else float(vanishes),
                group=str(told["group"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise LeaseLost(f"{token[:80]!r} is no receipt of an SQS message") from error

    def ceiling(self, now: float, most: timedelta = CEILING) -> timedelta:
        """Return how much longer the message can be hidden, at ``now`` (seconds since the epoch).

        A clock that was set back gives no more than SQS does.
        """
        left = self.received + most.total_seconds() - now
        return timedelta(seconds=min(max(left, 0.0), most.total_seconds()))

    def limit(self, now: float, most: timedelta = CEILING) -> timedelta:
        """Return how much longer there is something to hold: the ceiling or the retention."""
        ceiling = self.ceiling(now, most)
        if self.vanishes is None:
            return ceiling
        return min(ceiling, timedelta(seconds=max(0.0, self.vanishes - now)))

    def young_for(self, now: float, most: timedelta = CEILING) -> timedelta | None:
        """Return how much longer there is no need to hand the message over; ``None``: for ever.

        In a FIFO queue a fresh one would be the last of its group, and those behind it would begin.
        """
        if self.is_ordered:
            return None
        last = _LAST * self.limit(self.received, most)
        return max(timedelta(0), self.limit(now, most) - last)

    @property
    def is_ordered(self) -> bool:
        """It is one of a FIFO queue."""
        return self.url.endswith(".fifo")


def seconds(wanted: timedelta, left: timedelta) -> int:
    """Return the visibility timeout for ``wanted``, whole seconds, within what is ``left``."""
    return max(0, min(math.ceil(wanted.total_seconds()), math.floor(left.total_seconds())))


def message_of(found: Mapping[str, Any], queue: str) -> Message:
    """Return the message of an answer to a receive, its body byte for byte.

    Raises QueueUnavailable.
    """
    count = str(attributes(found).get("ApproximateReceiveCount", ""))
    return Message(
        word(found, "MessageId"),
        word(found, "Body").encode("utf-8", "surrogatepass"),
        queue,
        int(count) if count.isdecimal() else 1,
        mark_of(found),
        written(found, TRACEPARENT),
    )


def mark_of(found: Mapping[str, Any]) -> str:
    """Return what the runner wrote that sent the message on; empty where a client sent it."""
    return written(found, MARK)


def written(found: Mapping[str, Any], name: str) -> str:
    """Return an attribute that a sender wrote; empty where it is no text."""
    told = (found.get("MessageAttributes") or {}).get(name) or {}
    return str(told.get("StringValue", ""))


def receipt_of(
    found: Mapping[str, Any], url: str, *, now: float, server: float, retention: timedelta | None
) -> Receipt:
    """Return what holds a message that was received at ``now``, when SQS's clock said ``server``.

    Its age is told by SQS's clock alone: ours may be minutes off.
    """
    sent = str(attributes(found).get("SentTimestamp", ""))
    vanishes = None
    if retention is not None and sent.isdecimal():
        age = max(0.0, server - int(sent) / 1000)
        vanishes = now + max(0.0, retention.total_seconds() - age)
    return Receipt(
        url,
        str(found["ReceiptHandle"]),
        now,
        vanishes,
        str(attributes(found).get("MessageGroupId", "")),
    )


def taken(text: str) -> str:
    """Return the text as SQS takes it: with a sign in the place of each character that it refuses.

    Not for the bodies of experiments, which are kept byte for byte.
    """
    return _UNTAKEN.sub("\ufffd", text)


def word(answer: Mapping[str, Any], name: str) -> str:
    """Return one word of an answer. Raises QueueUnavailable: a portal may answer for SQS."""
    found = answer.get(name)
    if not isinstance(found, str):
        raise QueueUnavailable(f"the answer has no {name}: it is none of SQS")
    return found


def attributes(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what SQS tells about a message besides its body."""
    told: Mapping[str, Any] = found.get("Attributes") or {}
    return told


def server_clock(answer: Mapping[str, Any], now: float) -> float:
    """Return the time that an answer was given at; ``now`` where it does not tell."""
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return email.utils.parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return now
