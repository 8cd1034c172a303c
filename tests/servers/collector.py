"""A collector of traces: takes what OTLP's exporters post, and reads it as the standard says."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.web import Asked, Reply, WebServer


@dataclass(frozen=True)
class Seen:
    """One span, as it arrived."""

    name: str
    trace: str
    span: str
    parent: str
    started: float
    ended: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    #: OTLP's numbers: 0 is unset, 2 is an error; 1 is an inner span, 5 a consumer.
    status: int
    said: str
    kind: int


class Collector:
    """Takes all that comes; or, while it ``hangs``, reads it and never answers."""

    def __init__(self) -> None:
        self.hangs = False
        self.status = 200
        self._freed = threading.Event()
        self._web = WebServer(self._answer)
        self._spans: list[Seen] = []

    @property
    def url(self) -> str:
        """Return the base address, as operators give it."""
        return self._web.url

    @property
    def asked(self) -> list[Asked]:
        """Return all requests."""
        return self._web.asked

    @property
    def spans(self) -> list[Seen]:
        """Return what was taken, in the order of its coming."""
        return list(self._spans)

    def of(self, key: str) -> list[Seen]:
        """Return the spans of one experiment."""
        return [one for one in self.spans if one.attributes.get("studioml.experiment.key") == key]

    @contextlib.contextmanager
    def serving(self) -> Iterator[Collector]:
        """Serve until the end of the block; whoever waits for an answer then gets one."""
        with self._web.serving():
            try:
                yield self
            finally:
                self._freed.set()

    def _answer(self, asked: Asked) -> Reply:
        if self.hangs:
            self._freed.wait()
            return Reply(503)
        if self.status == 200:
            self._spans.extend(_read(asked.body))
        return Reply(self.status, {"Content-Type": "application/x-protobuf"})


def _read(body: bytes) -> Iterator[Seen]:
    request: Any = ExportTraceServiceRequest.FromString(body)
    for told in request.resource_spans:
        resource = _plain(told.resource.attributes)
        for scope in told.scope_spans:
            for one in scope.spans:
                yield Seen(
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    one.start_time_unix_nano / 1e9,
                    one.end_time_unix_nano / 1e9,
                    _plain(one.attributes),
                    resource,
                    one.status.code,
                    one.status.message,
                    one.kind,
                )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
