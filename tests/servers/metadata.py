"""Metadata services as clouds run them: EC2's, version 2, and Compute Engine's with its waits."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from tests.servers.web import Asked, Reply, WebServer

_ACTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
_GCP = "/computeMetadata/v1/instance/"


@dataclass(eq=False)
class Ec2:
    """Gives nothing without a token, and a token to whoever asks as it wants to be asked."""

    #: What it has, by path.
    documents: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    #: Answered instead of everything.
    status: int = 200
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def announce(self, left: timedelta, action: str = "terminate") -> None:
        """Have the interruption notice appear."""
        at = (datetime.now(UTC) + left).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.documents[_ACTION] = json.dumps({"action": action, "time": at})

    def take_back(self) -> None:
        """Have it disappear, as the next instance sees it."""
        self.documents.pop(_ACTION, None)

    def recommend(self) -> None:
        """Recommend a rebalance."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.documents[_REBALANCE] = json.dumps({"noticeTime": at})

    def answer(self, asked: Asked) -> Reply:
        """Answer as EC2 does."""
        if self.status != 200:
            return Reply(self.status)
        if asked.headers["x-forwarded-for"]:
            return Reply(403)
        if asked.target == "/latest/api/token":
            return self._token(asked)
        if asked.headers["x-aws-ec2-metadata-token"] not in self.tokens:
            return Reply(401)
        if asked.method != "GET" or asked.target not in self.documents:
            return Reply(404)
        return Reply(body=self.documents[asked.target].encode())

    def _token(self, asked: Asked) -> Reply:
        seconds = asked.headers["x-aws-ec2-metadata-token-ttl-seconds"] or ""
        if asked.method != "PUT":
            return Reply(405)
        if not seconds.isdecimal() or not 1 <= int(seconds) <= 21600:
            return Reply(400)
        token = uuid.uuid4().hex
        self.tokens.add(token)
        return Reply(body=token.encode(), headers={"Content-Type": "text/plain"})


@dataclass(eq=False)
class Gce:
    """Gives nothing without its header, and waits for a change with whoever wants to."""

    values: dict[str, str] = field(
        default_factory=lambda: {"preempted": "FALSE", "maintenance-event": "NONE"}
    )
    #: Answered instead of everything.
    status: int = 200
    #: Name and port.
    host: str = ""
    asked: list[Asked] = field(default_factory=list)
    #: Polls that wait now.
    waiting: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _is_over: bool = False

    def set(self, key: str, value: str) -> None:
        """Change a value."""
        with self._changed:
            self.values[key] = value
            self._changed.notify_all()

    def end(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def answer(self, asked: Asked) -> Reply:
        """Answer as the metadata server does."""
        flavor = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
        if self.status != 200:
            return Reply(self.status, headers=flavor)
        if asked.headers["metadata-flavor"] != "Google" or asked.headers["x-forwarded-for"]:
            return Reply(403, headers=flavor)
        url = urlsplit(asked.target)
        key = url.path.removeprefix(_GCP)
        if not url.path.startswith(_GCP) or key not in self.values:
            return Reply(404, headers=flavor)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if query.get("wait_for_change") == "true":
            self._wait(key, query.get("last_etag", "0"), float(query.get("timeout_sec", "600")))
        value = self.values[key]
        return Reply(headers={**flavor, "ETag": _etag(value)}, body=value.encode())

    def _wait(self, key: str, known: str, seconds: float) -> None:
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(
                lambda: self._is_over or _etag(self.values[key]) != known, seconds
            )
            self.waiting -= 1


def _etag(value: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, value).hex[:16]


@contextlib.contextmanager
def ec2() -> Iterator[Ec2]:
    """Serve EC2's; its address is what ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` names."""
    service = Ec2()
    with WebServer(service.answer).serving() as server:
        service.url, service.asked = server.url, server.asked
        yield service


@contextlib.contextmanager
def gce() -> Iterator[Gce]:
    """Serve Compute Engine's; ``host`` is what ``GCE_METADATA_HOST`` names."""
    service = Gce()
    with WebServer(service.answer).serving() as server:
        service.host, service.asked = f"127.0.0.1:{server.port}", server.asked
        try:
            yield service
        finally:
            service.end()
