"""SQS that answers what a test says to each action, for what no server can be brought to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.web import Asked, Reply, WebServer

#: What is answered to the words of a call.
Says = Callable[[Mapping[str, Any]], Reply]


def said(**told: Any) -> Reply:
    """Answer with these words."""
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    return Reply(200, headers, json.dumps(told).encode())


def refused(code: str, message: str = "", *, status: int = 400, query: str = "") -> Reply:
    """Refuse, as SQS does: ``query`` is the code that the service used before it spoke JSON."""
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    if query:
        headers["x-amzn-query-error"] = f"{query};Sender"
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message or code})
    return Reply(status, headers, body.encode())


@dataclass
class CannedSqs:
    """Actions by their names; whatever is not among them is answered with nothing."""

    says: dict[str, Says] = field(default_factory=dict)
    #: Action and words of every call.
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    url: str = ""

    def queue(self, name: str) -> str:
        """Return the URL of a queue."""
        return f"{self.url}/123456789012/{name}"

    def count(self, action: str) -> int:
        """Tell how often an action was asked for."""
        return sum(1 for asked, _ in self.asked if asked == action)

    def always(self, action: str, reply: Reply) -> None:
        """Answer the same for ever."""
        self.says[action] = lambda _: reply

    def answer(self, asked: Asked) -> Reply:
        """Answer one call."""
        action = asked.headers.get("X-Amz-Target", "").partition(".")[2]
        words = json.loads(asked.body or b"{}")
        self.asked.append((action, words))
        found = self.says.get(action)
        return found(words) if found else said()


@contextlib.contextmanager
def canned_sqs() -> Iterator[CannedSqs]:
    """Serve until the end of the block."""
    sqs = CannedSqs()
    with WebServer(sqs.answer).serving() as server:
        sqs.url = server.url
        yield sqs
