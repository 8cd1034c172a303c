"""One trace an experiment, one span a stage: whose, which, how it ended, and nothing secret."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from runner.errors import StoreUnavailable
from runner.lifecycle.board import Board
from runner.lifecycle.tally import Stage
from runner.lifecycle.trail import Tracing, Trail
from runner.model import (
    Ack,
    Cause,
    Deferred,
    Experiment,
    Failed,
    Message,
    Needs,
    Refused,
    Request,
    Stopped,
)
from runner.reporters.tracing.base import TraceSpan
from runner.request.trace import TraceContext
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Json, Machine, seen
from tests.lifecycle.test_records import RECORD

pytestmark = pytest.mark.anyio

WRITTEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = int(WRITTEN.split("-")[1], 16)
SAY = "import os; open('../retval/retval', 'w').write(os.environ.get('TRACEPARENT', 'none'))"
STAGES = ["claim", "fetch", "environment", "start", "run", "upload", "settle", "experiment"]


def traced(machine: Machine) -> list[TraceSpan]:
    """Have the machine's spans told; return where."""
    spans: list[TraceSpan] = []
    tracing = Tracing(spans.append, machine.parts.redactor.redact)
    machine.parts = replace(machine.parts, board=Board(tracing=tracing))
    return spans


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A daemon's parts."""
    async with Machine.open(Box(tmp_path)) as machine:
        yield machine


def retval(machine: Machine, message: Json) -> str:
    """Return what the experiment was told."""
    return machine.box.stored(message["experiment"]["key"], "retval").decode()


async def test_an_experiment_is_one_trace_with_a_span_for_each_stage(machine: Machine) -> None:
    """One after the other, below the whole, which has all that is to be searched for."""
    spans = traced(machine)
    message = machine.box.message(SAY)
    await machine.handle(message)
    assert [one.name for one in spans] == STAGES
    *stages, whole = spans
    assert len({one.context.trace_id for one in spans}) == 1
    assert len({one.context.span_id for one in spans}) == len(spans)
    assert whole.parent == 0
    assert whole.is_whole
    assert {one.parent for one in stages} == {whole.context.span_id}
    for before, after in itertools.pairwise(stages):
        assert before.started <= before.ended <= after.ended
    assert {one.error for one in spans} == {None}
    told = {
        "studioml.experiment.key": message["experiment"]["key"],
        "studioml.project": "acceptance",
        "studioml.queue": "local_test",
        "studioml.attempt": 1,
        "studioml.cause": "completed",
        "studioml.settled": "acked",
        "studioml.exit_code": 0,
        "messaging.destination.name": "local_test",
    }
    assert told.items() <= whole.attributes.items()


async def test_the_experiment_goes_on_in_the_trace_below_its_run(machine: Machine) -> None:
    """A training script that tells spans of its own finds the context where tools look for it."""
    spans = traced(machine)
    message = machine.box.message(SAY)
    await machine.handle(message)
    (run,) = [one for one in spans if one.name == "run"]
    assert retval(machine, message) == run.context.traceparent


@pytest.mark.parametrize("place", ["request", "variable"])
async def test_the_senders_trace_goes_on(machine: Machine, place: str) -> None:
    """The attempt is a child of the span that sent it."""
    spans = traced(machine)
    message = machine.box.message(SAY)
    if place == "request":
        message["config"]["runner"] = {"traceparent": WRITTEN}
    else:
        message["config"]["env"] = {"TRACEPARENT": WRITTEN}
    await machine.handle(message)
    assert {one.context.trace_id for one in spans} == {TRACE}
    assert spans[-1].parent == 0x00F067AA0BA902B7
    found = TraceContext.read(retval(machine, message))
    assert found is not None
    assert found.trace_id == TRACE


async def test_a_message_may_name_its_trace_beside_its_body(machine: Machine) -> None:
    """Where its broker has room for that; what the request says goes before."""
    spans = traced(machine)
    body = json.dumps(machine.box.message(SAY)).encode()
    machine.queue.put(Message("1", body, "local_test", traceparent=WRITTEN))
    await machine.handle()
    assert {one.context.trace_id for one in spans} == {TRACE}


async def test_a_trace_that_nobody_keeps_is_only_handed_on(machine: Machine) -> None:
    """Its sender decided that; the experiment is told so as well."""
    spans = traced(machine)
    message = machine.box.message(SAY)
    message["config"]["runner"] = {"traceparent": WRITTEN[:-1] + "0"}
    await machine.handle(message)
    assert spans == []
    assert retval(machine, message).endswith("-00")


async def test_without_a_collector_the_senders_trace_is_handed_on(machine: Machine) -> None:
    """As it came; where there is none, the experiment has no such variable."""
    with_trace, without = machine.box.message(SAY), machine.box.message(SAY)
    with_trace["config"]["runner"] = {"traceparent": WRITTEN}
    await machine.handle(with_trace)
    await machine.handle(without)
    assert retval(machine, with_trace) == WRITTEN
    assert retval(machine, without) == "none"


async def test_a_failure_is_seen_at_its_stage_and_at_the_whole(machine: Machine) -> None:
    """The others are well."""
    spans = traced(machine)
    await machine.handle(machine.box.message("raise SystemExit(3)"))
    failed = {one.name: one for one in spans if one.error is not None}
    assert set(failed) == {"run", "experiment"}
    assert failed["run"].error is not None
    assert failed["run"].error.startswith("exit")
    assert failed["run"].attributes["error.type"] == "exit"
    assert failed["experiment"].attributes["studioml.exit_code"] == 3


async def test_results_that_are_not_stored_fail_the_upload(machine: Machine) -> None:
    """The run itself was well."""
    spans = traced(machine)
    machine.parts = replace(
        machine.parts, options=replace(machine.parts.options, upload_patience=timedelta(0))
    )
    machine.points.raises("store output", *[StoreUnavailable("the store is away")] * 9)
    await machine.handle(machine.box.message(SAY))
    assert [one.name for one in spans if one.error is not None] == ["upload", "experiment"]


async def test_what_cannot_be_read_has_a_trace_of_its_own(machine: Machine) -> None:
    """Two spans, and an error that says why."""
    spans = traced(machine)
    await machine.handle(b"no request")
    assert [one.name for one in spans] == ["claim", "settle", "experiment"]
    assert len({one.context.trace_id for one in spans}) == 1
    assert spans[-1].attributes["studioml.cause"] == "not-a-request"


async def test_what_was_only_looked_at_is_not_told(machine: Machine) -> None:
    """A message that many runners see all night is one story, not thousands."""
    spans = traced(machine)
    message = machine.box.message(SAY)
    await machine.handle(message)
    told = len(spans)
    await machine.handle(message)
    assert machine.ends == ["completed", "not-ours"]
    assert len(spans) == told


async def test_nothing_secret_is_told(machine: Machine) -> None:
    """Neither a value of its variables nor one of the daemon's."""
    spans = traced(machine)
    message = machine.box.message("raise SystemExit('planted-5ecret-5ecret')", key="planted")
    message["experiment"]["project"] = "of planted-5ecret-5ecret"
    message["config"]["env"] = {"API_TOKEN": "planted-5ecret-5ecret"}
    await machine.handle(message)
    assert len(spans) == len(STAGES)
    assert "5ecret" not in repr(spans)


async def test_attempts_of_several_machines_are_one_trace(tmp_path: Path) -> None:
    """It follows from the experiment: nobody need tell the next machine."""
    box = Box(tmp_path)
    traces = []
    async with Machine.open(box) as machine:
        message = box.message("raise SystemExit(3)")
        message["config"]["runner"] = {"retry_on": ["exit"]}
        for _ in range(2):
            spans = traced(machine)
            await machine.handle(message)
            traces.append({one.context.trace_id for one in spans})
            assert len({one.context.span_id for one in spans}) == len(spans)
    assert traces[0] == traces[1]


async def test_a_run_that_is_adopted_goes_on_in_its_trace(tmp_path: Path) -> None:
    """The whole and the run are told by the next daemon, under the numbers that were given out."""
    box, go = Box(tmp_path), tmp_path / "go"
    script = f"""
import os, pathlib, time
pathlib.Path({str(tmp_path / "told")!r}).write_text(os.environ['TRACEPARENT'])
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
"""
    message = box.message(script)
    message["config"]["runner"] = {"traceparent": WRITTEN}
    async with Machine.open(box) as machine:
        before = traced(machine)
        handling, _ = await machine.handling(message)
        async with anyio.create_task_group() as group:
            group.start_soon(handling.perform, await machine.parts.intake.slot())
            await seen(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text())
            group.cancel_scope.cancel()
        queue = machine.queue
    async with Machine.open(box, queue=queue) as machine:
        after = traced(machine)
        go.touch()
        with anyio.fail_after(PATIENCE):
            await machine.take_over()
    assert [one.name for one in before] == ["claim", "fetch", "environment", "start"]
    assert [one.name for one in after] == ["resume", "run", "upload", "settle", "experiment"]
    whole, run = after[-1], after[1]
    assert {one.context.trace_id for one in (*before, *after)} == {TRACE}
    assert {one.parent for one in (*before, *after[:-1])} == {whole.context.span_id}
    assert whole.started <= before[0].ended <= run.started + 0.5
    assert (tmp_path / "told").read_text() == run.context.traceparent


def test_what_is_no_unicode_can_be_told() -> None:
    """A sentence may name a file, whose name is bytes: one such span would hold up all others."""
    spans: list[TraceSpan] = []
    trail = Trail(Tracing(spans.append))
    trail.settled(Failed(Cause.EXIT, 1, "no file \udce4"), Ack())
    trail.close(RECORD)
    assert spans[0].error == "exit: no file \\udce4"


@pytest.mark.parametrize(
    ("outcome", "is_fault"),
    [
        (Failed(Cause.EXIT, 3, "x"), True),
        (Refused(Cause.BAD_REQUEST, "x"), True),
        (Refused(Cause.NOT_OURS, "x"), False),
        (Deferred(timedelta(0), "x", Cause.NO_ROOM), False),
        (Deferred(timedelta(0), "x", Cause.STORE_UNAVAILABLE), True),
        (Stopped(Cause.DRAINED), False),
        (Stopped(Cause.CANCELLED), False),
        (Stopped(Cause.LEASE_LOST), True),
    ],
    ids=str,
)
def test_what_somebody_wished_is_no_error(
    outcome: Failed | Refused | Deferred | Stopped,
    is_fault: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Nor what only came too late or too early."""
    spans: list[TraceSpan] = []
    trail = Trail(Tracing(spans.append))
    trail.belongs(RECORD, Request(Experiment("k", "train.py"), Needs(), {}))
    trail.over(RECORD, Stage.FETCH, 1.0)
    trail.settled(outcome, Ack())
    trail.close(RECORD)
    assert [one.name for one in spans] == ["fetch", "experiment"]
    assert (spans[1].error is not None) is is_fault
