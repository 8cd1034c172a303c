"""A server that answers like Slack: the two calls of a bot, and an incoming webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers.web import Asked, Reply, WebServer

HOOK = "/services/T0/B0/hookSECREThook"
TOKEN = "xoxb-1-tokenSECRETtoken"
Json = dict[str, Any]

RATE_LIMITED = Reply(429, {"Retry-After": "0"}, b'{"ok":false,"error":"ratelimited"}')
BROKEN = Reply(503, {}, b"<html>upstream</html>")


def refusal(error: str) -> Reply:
    """Return how Slack's API refuses: with success."""
    return Reply(body=json.dumps({"ok": False, "error": error}).encode())


class Slack:
    """A workspace with a few channels; ``next`` holds answers that go before its own."""

    def __init__(self) -> None:
        self.web = WebServer(self._answer)
        self.channels = {"#lab": "C1", "#team-a": "C2", "C1": "C1", "C2": "C2"}
        self.next: list[Reply] = []
        #: How a call with a field of this name is refused.
        self.refused: dict[str, str] = {}
        #: Every call that was understood, with its body and, as ``method``, what it was.
        self.calls: list[Json] = []
        #: While it is not set, no answer is finished.
        self.answers = threading.Event()
        self.answers.set()
        self._count = 0

    @property
    def api(self) -> str:
        """Return the address of the API."""
        return f"{self.web.url}/api/"

    @property
    def hook(self) -> str:
        """Return the address of the hook."""
        return self.web.url + HOOK

    @property
    def told(self) -> str:
        """Return everything that was posted, as people write it."""
        return json.dumps(self.calls, ensure_ascii=False)

    @contextmanager
    def serving(self) -> Iterator[Slack]:
        """Serve until the end of the block; what hangs then is let go."""
        with self.web.serving():
            try:
                yield self
            finally:
                self.answers.set()

    def methods(self) -> list[str]:
        """Return the calls by name, ``reply`` for a message in a thread."""
        return ["reply" if "thread_ts" in call else str(call["method"]) for call in self.calls]

    def _answer(self, asked: Asked) -> Reply:
        self.answers.wait()
        if self.next:
            return self.next.pop(0)
        body = json.loads(asked.body)
        if asked.target == HOOK:
            self.calls.append({"method": "hook", **body})
            return Reply(body=b"ok")
        if asked.headers["authorization"] != f"Bearer {TOKEN}":
            return refusal("invalid_auth")
        channel = self.channels.get(body["channel"])
        if channel is None:
            return refusal("channel_not_found")
        for error in (self.refused[name] for name in self.refused if body.get(name)):
            return refusal(error)
        self.calls.append({"method": asked.target.removeprefix("/api/"), **body})
        self._count += 1
        stamp = body.get("ts") or f"17000000.{self._count:06}"
        return Reply(body=json.dumps({"ok": True, "channel": channel, "ts": stamp}).encode())
