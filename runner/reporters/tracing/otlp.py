"""Spans by OTLP over HTTP, as OpenTelemetry's own exporter sends them.

It reads the standard variables itself: headers, certificates, compression, time limit. Importing
this module takes half a second; only who has a span to send does it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from runner.reporters.tracing.base import Exporter, Refused, TraceSpan, Undelivered

_SCOPE = "studio-runner"
_NANOSECONDS = 1_000_000_000
#: What is wrong with the request itself, and with whoever makes it: 408 and 429 are of the hour.
_FINAL = frozenset(range(400, 500)) - {408, 429}


class Otlp(Exporter):
    """One collector."""

    def __init__(self, endpoint: str, resource: Mapping[str, str]) -> None:
        """``endpoint`` is the whole address; ``resource`` says who speaks.

        ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` go before it.
        """
        told = Resource.create().attributes
        named = {name: told[name] for name in told if not str(told[name]).startswith("unknown_")}
        self._resource = Resource({**resource, **named})
        self._scope = InstrumentationScope(_SCOPE, resource.get("service.version"))
        self._said = _Words()
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=endpoint)

    def export(self, spans: Sequence[TraceSpan]) -> None:
        """Send them. Raises Undelivered and Refused, with what the exporter logs."""
        logger = logging.getLogger(trace_exporter.__name__)
        self._said.forget()
        logger.addFilter(self._said)
        try:
            result = self._exporter.export([self._readable(span) for span in spans])
        finally:
            logger.removeFilter(self._said)
        if result is not SpanExportResult.SUCCESS:
            raise (Refused if self._said.is_final else Undelivered)(self._said.text)

    def _readable(self, span: TraceSpan) -> ReadableSpan:
        trace = span.context.trace_id
        return ReadableSpan(
            name=span.name,
            context=_context(trace, span.context.span_id, is_remote=False),
            parent=_context(trace, span.parent, is_remote=span.is_whole) if span.parent else None,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.CONSUMER if span.is_whole else SpanKind.INTERNAL,
            instrumentation_scope=self._scope,
            status=Status() if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=int(span.started * _NANOSECONDS),
            end_time=int(span.ended * _NANOSECONDS),
        )


def _context(trace: int, span: int, *, is_remote: bool) -> SpanContext:
    return SpanContext(trace, span, is_remote, TraceFlags(TraceFlags.SAMPLED))


class _Words(logging.Filter):
    """Keeps what the exporter would log: it is said once, by us, and not with every try."""

    #: Of one export the first sentence, which has the reason; later ones speak of tries.
    text = ""
    #: It names a status of HTTP that another try would not change.
    is_final = False

    def forget(self) -> None:
        """Hear of the next export."""
        self.text, self.is_final = "", False

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the sentence, and let nothing through."""
        self.text = self.text or record.getMessage()
        told = record.args if isinstance(record.args, tuple) else ()
        self.is_final = any(type(one) is int and one in _FINAL for one in told)
        return False
