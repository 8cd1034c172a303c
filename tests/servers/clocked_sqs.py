"""SQS in memory on a clock that a test moves: what Amazon documents of holding, to the hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from runner.queues.sqs.account import Account, Answer
from runner.queues.sqs.terms import Terms
from runner.queues.sqs.trouble import NotHeld, TooOld

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/sqs_demo"
CEILING = timedelta(hours=12).total_seconds()


@dataclass
class Clock:
    """One for everybody; seconds."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    @property
    def terms(self) -> Terms:
        """Return what holding is measured by then."""
        return Terms(clock=self, wall=self)


@dataclass
class Stored:
    """One message."""

    id: str
    body: str
    attributes: Mapping[str, Any]
    sent: float
    visible: float
    handle: str = ""
    #: When it was received by whoever has it.
    received: float = 0.0
    count: int = 0


@dataclass
class ClockedSqs(Account):
    """One queue; used in the place of an account."""

    clock: Clock
    retention: timedelta = timedelta(days=4)
    messages: list[Stored] = field(default_factory=list)
    #: Ids of what was deleted by somebody.
    deleted: list[str] = field(default_factory=list)
    #: Of what was older than the retention.
    forgotten: list[str] = field(default_factory=list)
    #: The most that one message was received.
    most_receives: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        """Open nothing."""

    def send(self, body: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a message."""
        self.sent += 1
        now = self.clock()
        message = Stored(f"m{self.sent}", body, attributes or {}, now, now)
        self.messages.append(message)
        return message.id

    def receive(self, visibility: timedelta) -> Mapping[str, Any] | None:
        """Hand out the oldest that is visible."""
        self._forget_old()
        now = self.clock()
        for one in self.messages:
            if one.visible <= now:
                one.count += 1
                self.most_receives = max(self.most_receives, one.count)
                one.handle, one.received = f"{one.id}/{one.count}", now
                one.visible = now + visibility.total_seconds()
                return {
                    "MessageId": one.id,
                    "ReceiptHandle": one.handle,
                    "Body": one.body,
                    "MessageAttributes": one.attributes,
                    "Attributes": {
                        "SentTimestamp": str(int(one.sent * 1000)),
                        "ApproximateReceiveCount": str(one.count),
                    },
                }
        return None

    async def ask(self, operation: str, **asked: Any) -> Answer:
        """Do as Amazon does."""
        self._forget_old()
        if operation == "send_message":
            return {"MessageId": self.send(asked["MessageBody"], asked["MessageAttributes"])}
        one = self._held(asked["ReceiptHandle"])
        if operation == "delete_message":
            self.messages.remove(one)
            self.deleted.append(one.id)
        else:
            until = self.clock() + asked["VisibilityTimeout"]
            if until > one.received + CEILING:
                raise TooOld("total VisibilityTimeout for the message is beyond the limit")
            one.visible = until
        return {}

    def _held(self, handle: str) -> Stored:
        for one in self.messages:
            if one.handle == handle and one.visible > self.clock():
                return one
        raise NotHeld("the message does not exist or is not available")

    def _forget_old(self) -> None:
        born = self.clock() - self.retention.total_seconds()
        self.forgotten += [one.id for one in self.messages if one.sent <= born]
        self.messages = [one for one in self.messages if one.sent > born]
