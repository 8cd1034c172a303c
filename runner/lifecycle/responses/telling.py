"""What is said of an attempt on its response queue, and in which words (protocol section 2.10)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from runner.lifecycle.board import Entry
from runner.lifecycle.metadata.accession import accession_id
from runner.lifecycle.parts import Parts
from runner.lifecycle.responses.documents import Document, Severity, State, entry, progress
from runner.lifecycle.responses.printed import folded, fragments
from runner.lifecycle.responses.responses import Post, Subject
from runner.lifecycle.runs.record import Record
from runner.model import Cause, Completed, Disposition, Outcome, Release

#: Of a run's id, as the names of its metadata files have it.
_DIGITS = 6
#: Of what is nobody's experiment, or another runner's to tell, nothing is said.
_SILENT = frozenset({Cause.NOT_A_REQUEST, Cause.NOT_OURS})
_UNKNOWN = 1


def unique_id(parts: Parts, record: Record) -> str:
    """Return the name of an attempt, in reports and of its metadata files.

    Two that were claimed in one second would have one name, and one object in their bucket.
    """
    return f"{accession_id(parts.host, record.claimed_at)}-{record.run[:_DIGITS]}"


def subject(parts: Parts, one: Entry) -> Subject:
    """Return what reports of an attempt are about."""
    record = one.record
    return Subject(
        record.broker,
        record.project,
        record.message.queue,
        record.key,
        unique_id(parts, record),
        is_sealed=one.is_sealed,
    )


def accepted(parts: Parts, one: Entry) -> None:
    """Say that it is in hand: the original's first words, and that it is about to start."""
    at = time.time_ns()
    found = entry("scanning queue", at, Severity.DEBUG, {"queue_name": one.record.message.queue})
    one.is_told = True
    parts.responses.post(
        subject(parts, one),
        [Post(found, at, matters=False, names_it=False), Post(progress(State.PRESTART, at), at)],
    )


def started(parts: Parts, one: Entry) -> None:
    """Say that it runs, and with what."""
    at, record = time.time_ns(), one.record
    allocation = record.allocation
    given = {
        "attempt": str(record.attempt),
        "cores": str(allocation.cores),
        "memory": str(allocation.memory),
        "disk": str(allocation.disk),
        "gpus": ",".join(allocation.gpus),
    }
    one.is_told = True
    _say(parts, one, progress(State.STARTED, at), entry("start", at, fields=_known(given)))


def adopted(parts: Parts, one: Entry) -> None:
    """Say that another daemon has the run."""
    one.is_told = True
    _say(parts, one, entry("goes on under another daemon", time.time_ns()))


def stopping(parts: Parts, one: Entry, cause: Cause) -> None:
    """Say that it is being ended, and why."""
    at = time.time_ns()
    fields = _known({"cause": cause.value, "detail": one.stopper.detail})
    _say(parts, one, progress(State.STOPPING, at), entry("stopping", at, fields=fields))


def printed(parts: Parts, one: Entry, lines: Sequence[str]) -> None:
    """Pass on what it wrote: lines, and what of them is JSON once more by itself."""
    at = time.time_ns()
    payloads = [entry(message, at) for message in folded(lines)]
    payloads += [progress(State.STARTED, at, fragment=found) for found in fragments(lines)]
    parts.responses.post(
        subject(parts, one),
        [Post(payload, at, matters=False, is_masked=True) for payload in payloads],
    )


def left_out(parts: Parts, one: Entry, count: int, last: Sequence[str]) -> None:
    """Say that it printed more than can be passed on by its end, and its last lines."""
    at = time.time_ns()
    said = f"{count} bytes of its output are left out, but for the last lines: they are stored"
    _say(parts, one, entry(said, at, Severity.WARNING, {"left_out": str(count)}))
    parts.responses.post(subject(parts, one), [Post(entry(line, at), at) for line in last])


def ended(parts: Parts, one: Entry, outcome: Outcome, disposition: Disposition) -> None:
    """Say how an attempt ended; what comes back to its queue has not failed yet."""
    is_back = isinstance(disposition, Release)
    if outcome.cause in _SILENT or (is_back and not one.is_told):
        return
    at = time.time_ns()
    if isinstance(outcome, Completed) and not is_back:
        fields = {"success": "True"}
        _say(parts, one, entry("stop", at, fields=fields), progress(State.SUCCESS, at))
        return
    said = outcome.cause.value + (f": {outcome.detail}" if outcome.detail else "")
    fields = {"success": "False", "error": said}
    severity = Severity.INFO
    if isinstance(disposition, Release):
        severity = Severity.WARNING
        fields["again_in_seconds"] = f"{disposition.delay.total_seconds():.0f}"
    payloads = [entry("stop", at, severity, fields)]
    if outcome.cause is not Cause.LEASE_LOST:  # whoever has it says how it stands
        state = State.PRESTART if is_back else State.FAILED
        payloads.append(progress(state, at, error=(said, outcome.exit_code or _UNKNOWN)))
    _say(parts, one, *payloads)


def _say(parts: Parts, one: Entry, *payloads: Document) -> None:
    at = time.time_ns()
    parts.responses.post(subject(parts, one), [Post(payload, at) for payload in payloads])


def _known(fields: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in fields.items() if value}
