"""Traces of a real daemon's experiments, at a real collector, and at one that never answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.servers.collector import Collector

SAY = "import os; print('trace', os.environ['TRACEPARENT'], flush=True)"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a collector that is there."""
    with Collector().serving() as collector:
        yield collector


def test_a_trace_is_whole_though_its_daemon_was_killed(box: Box, collector: Collector) -> None:
    """The next daemon tells the rest of it, and the experiment knows its span."""
    go = box.root / "go"
    script = f"""
import pathlib, time
{SAY}
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
"""
    options = ("--otlp-endpoint", collector.url)
    daemon = box.start(*options)
    key = box.submit(script)
    until(lambda: "start" in {one.name for one in collector.of(key)} or None, "its start", box.log)
    box.kill(daemon)
    daemon = box.start(*options)
    go.touch()
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert box.drain(daemon) == 0
    spans = {one.name: one for one in collector.of(key)}
    assert set(spans) >= {"fetch", "environment", "start", "run", "upload", "settle", "experiment"}
    assert len({one.trace for one in spans.values()}) == 1
    run, whole = spans["run"], spans["experiment"]
    assert f"trace 00-{run.trace}-{run.span}-01" in box.output(key)
    assert run.parent == whole.span
    assert whole.resource["service.name"] == "studio-runner"
    assert whole.attributes["studioml.cause"] == "completed"


def test_a_collector_that_never_answers_costs_nobody_anything(
    box: Box, collector: Collector
) -> None:
    """The experiment ends as ever, and so does the daemon; what was not told is said."""
    collector.hangs = True
    # As a cluster gives it to all of its programs.
    daemon = box.start(variables={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    key = box.submit(SAY)
    until(lambda: collector.asked or None, "a request", box.log)
    assert box.outcome(key)["cause"] == "completed"
    box.wait_until_clean()
    assert box.drain(daemon) == 0
    assert "spans were not told" in box.log()
    assert collector.spans == []
