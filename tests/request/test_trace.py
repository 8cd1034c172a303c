"""W3C's trace context: read strictly, written as version 00, derived alike everywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model import Message
from runner.request.schema import decode
from runner.request.trace import TraceContext, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WRITTEN = f"00-{TRACE}-{SPAN}-01"

contexts = st.builds(
    TraceContext, st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.booleans()
)


@given(contexts)
def test_what_is_written_is_read(context: TraceContext) -> None:
    """With all its zeros."""
    assert TraceContext.read(context.traceparent) == context
    assert len(context.traceparent) == len(WRITTEN)


@given(st.text() | st.none() | st.integers() | st.binary())
def test_whatever_else_is_written_is_none(written: object) -> None:
    """Anybody may write anything there."""
    assert TraceContext.read(written) is None


@pytest.mark.parametrize(
    "written",
    [
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"01-{TRACE}-{SPAN}-01-{'x' * 1000}",
    ],
)
def test_what_the_standard_forbids_is_none(written: str) -> None:
    """Zeros, capitals, a version that cannot be, more than version 00 has, more than anybody."""
    assert TraceContext.read(written) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """So the standard wants it."""
    context = TraceContext.read(f"cc-{TRACE}-{SPAN}-03-what-the-future-will-be-like")
    assert context is not None
    assert context.traceparent == WRITTEN


@given(contexts, st.text(), st.text())
def test_a_span_follows_from_what_it_is_of(context: TraceContext, run: str, stage: str) -> None:
    """The same in every process, in the same trace, and never 0."""
    span = context.at(run, stage)
    assert span == context.at(run, stage)
    assert (span.trace_id, span.is_sampled) == (context.trace_id, context.is_sampled)
    assert TraceContext.read(span.traceparent) == span
    assert trace_of(run, stage) == trace_of(run, stage) > 0


def _message(traceparent: object) -> Message:
    body = {
        "experiment": {
            "key": "k",
            "filename": "train.py",
            "pythonver": "3.11",
            "resources_needed": {"ram": "1gb", "hdd": "1gb"},
            "artifacts": {"workspace": {"qualified": "s3://host/bucket/w.tar", "mutable": False}},
        },
        "config": {"runner": {"traceparent": traceparent}},
    }
    return Message("1", json.dumps(body).encode(), "local_q")


def test_a_request_names_its_trace() -> None:
    """In ``config.runner.traceparent``."""
    request = decode(_message(WRITTEN))
    assert (request.traceparent, request.warnings) == (WRITTEN, ())


@pytest.mark.parametrize("written", ["00-1-2-3", 7, ["x"], f"00-{'0' * 32}-{SPAN}-01"])
def test_an_experiment_is_not_refused_for_its_trace(written: object) -> None:
    """Its sender is told, and it runs."""
    request = decode(_message(written))
    assert request.traceparent == ""
    assert len(request.warnings) == 1
    assert "traceparent" in request.warnings[0]
