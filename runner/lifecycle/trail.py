"""The trail of one attempt: its spans, told as its stages end, in the trace of its experiment.

All numbers are derived, none is drawn: a daemon that takes over a run goes on in its trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from runner.lifecycle.runs.record import Record
from runner.lifecycle.tally import SETTLED, Stage
from runner.model import (
    NOTHING,
    Cause,
    Deferred,
    Disposition,
    Failed,
    Outcome,
    Refused,
    Request,
    Stopped,
)
from runner.reporters.tracing.base import Attributes, TraceSpan
from runner.request.trace import VARIABLE, TraceContext, trace_of

Of = TypeVar("Of", int, str)

#: What OpenTelemetry calls the brokers.
_SYSTEMS = {"sqs": "aws_sqs", "pubsub": "gcp_pubsub"}
_LONGEST_ERROR = 500
#: It was somebody else's, or there was no room: a queue that is looked at so all night is no story.
_NOTHING = frozenset({Cause.NO_ROOM, Cause.NOT_OURS})
_NO_FAULT = _NOTHING | {Cause.DRAINED, Cause.CANCELLED, Cause.DEFERRED_BY_HOOK}
#: Stages in which it is not known whether anything comes of it, or that nothing did.
_HELD_BACK = frozenset({Stage.CLAIM, Stage.ROOM, Stage.HOOK, Stage.SETTLE})
_SPAN = "experiment"


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where the spans of a daemon go; without ``post`` nowhere."""

    post: Callable[[TraceSpan], None] | None = None
    #: Removes secrets.
    redact: Callable[[str], str] = str

    def shown(self, text: str) -> str:
        """Return what may be told of a text, as Unicode: names of files need be none."""
        return self.redact(text.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True, slots=True)
class _Past:
    """A stage that is over."""

    stage: Stage
    started: float
    ended: float
    #: What ended the attempt in it.
    fault: Outcome | None


@dataclass(eq=False)
class Trail:
    """The spans of one attempt."""

    tracing: Tracing = field(default_factory=Tracing)
    #: The sender's span.
    _theirs: TraceContext | None = None
    #: The attempt's own; ``None`` until its message is read.
    _ours: TraceContext | None = None
    #: Stages that were over before.
    _untold: list[_Past] = field(default_factory=list)
    #: What went wrong in the present stage; only the first that went wrong counts.
    _fault: Outcome | None = None
    _has_failed: bool = False
    #: Something of it was told.
    _is_told: bool = False
    _ending: Attributes = field(default_factory=dict)
    _error: str | None = None

    def belongs(self, record: Record, request: Request) -> None:
        """Go on in the sender's trace; where there is none, in one that follows from the request.

        So the attempts at an experiment are in one trace, whichever machines make them.
        """
        written = (request.traceparent, request.env.get(VARIABLE), record.message.traceparent)
        found = (TraceContext.read(text) for text in written)
        self._theirs = next((context for context in found if context is not None), None)
        experiment = request.experiment
        ground = self._theirs or TraceContext(trace_of(experiment.key, experiment.time_added), 1)
        self._ours = ground.at(record.run)

    def handed(self, record: Record) -> Mapping[str, str]:
        """Return the variables by which the experiment goes on in the trace, below its run.

        A runner that tells no spans itself hands on what the sender wrote.
        """
        theirs, ours = self._theirs, self._ours
        context = ours.at(record.run, Stage.RUN.name) if ours and self.tracing.post else theirs
        return {VARIABLE: context.traceparent} if context else NOTHING

    def failed(self, outcome: Outcome) -> None:
        """Note what the present stage ended with; the first that was a fault is to be seen."""
        if not self._has_failed and _is_fault(outcome):
            self._fault, self._has_failed = outcome, True

    def settled(self, outcome: Outcome, disposition: Disposition) -> None:
        """Note how the attempt ended, and what the broker was told."""
        self._ending = {
            "studioml.cause": outcome.cause.value,
            "studioml.settled": SETTLED[type(disposition)],
            **_known("studioml.exit_code", outcome.exit_code),
            **self._errors(outcome),
        }
        self._error = self._sentence(outcome)

    def over(self, record: Record, stage: Stage, seconds: float) -> None:
        """Tell a stage that has just ended."""
        if self.tracing.post is None:
            return
        now = time.time()
        self._untold.append(_Past(stage, now - seconds, now, self._fault))
        self._fault = None
        if self._ours is not None and stage not in _HELD_BACK:
            self._tell(record, self._ours)

    def close(self, record: Record) -> None:
        """Tell the whole attempt: it is over; nothing of one that was none."""
        is_any = self._is_told or self._ending.get("studioml.cause", Cause.NOT_OURS) not in _NOTHING
        if self.tracing.post is None or not is_any:
            return
        # Nobody could read its message: it has a trace of its own.
        ours = self._ours or TraceContext(trace_of(record.run), 1).at(record.run)
        self._tell(record, ours)
        attributes = {
            **self._about(record),
            "messaging.system": _SYSTEMS.get(record.broker, record.broker),
            "messaging.destination.name": self.tracing.shown(record.message.queue),
            "messaging.message.id": self.tracing.shown(record.message.id),
            "messaging.operation.type": "process",
            **self._ending,
        }
        parent = self._theirs.span_id if self._theirs else 0
        self._post(
            TraceSpan(
                _SPAN,
                ours,
                parent,
                record.claimed_at,
                max(record.claimed_at, time.time()),
                attributes,
                self._error,
                is_whole=True,
            )
        )

    def _tell(self, record: Record, ours: TraceContext) -> None:
        self._is_told = True
        while self._untold:
            past = self._untold.pop(0)
            # Of the run's span the experiment knows, and the next daemon: it bears no time.
            parts = () if past.stage is Stage.RUN else (past.started,)
            attributes = self._about(record)
            error = None
            if past.fault is not None:
                attributes |= self._errors(past.fault)
                error = self._sentence(past.fault)
            self._post(
                TraceSpan(
                    past.stage.name.lower(),
                    ours.at(record.run, past.stage.name, *parts),
                    ours.span_id,
                    past.started,
                    past.ended,
                    attributes,
                    error,
                )
            )

    def _post(self, span: TraceSpan) -> None:
        if self.tracing.post is not None and span.context.is_sampled:
            self.tracing.post(span)

    def _about(self, record: Record) -> dict[str, str | int]:
        shown = self.tracing.shown
        return {
            "studioml.experiment.key": shown(record.key),
            "studioml.project": shown(record.experiment_project),
            "studioml.queue": shown(record.message.queue),
            "studioml.attempt": record.attempt,
            "studioml.run": record.run,
        }

    def _errors(self, outcome: Outcome) -> Attributes:
        return {"error.type": outcome.cause.value} if _is_fault(outcome) else {}

    def _sentence(self, outcome: Outcome) -> str | None:
        if not _is_fault(outcome):
            return None
        detail = f": {outcome.detail}" if outcome.detail else ""
        # Cut behind the redactor: half a secret is not recognised.
        return self.tracing.shown(f"{outcome.cause.value}{detail}")[:_LONGEST_ERROR]


def _is_fault(outcome: Outcome) -> bool:
    """Tell whether something went wrong, and nobody only wished it so or came late."""
    if outcome.cause in _NO_FAULT:
        return False
    return isinstance(outcome, Failed | Refused | Stopped | Deferred)


def _known(name: str, value: Of | None) -> dict[str, Of]:
    return {} if value is None else {name: value}
