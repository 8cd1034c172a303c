"""What the claim record says and what follows from it: pure, no store in sight.

The record is one JSON object beside the experiment's mutable artifacts (``claim_location``)::

    {
      "version": 1,
      "key": "my_experiment",              the experiment
      "owner": {"host": …, "daemon": …, "run": …},
      "attempt": 2,                        this attempt's number, from 1
      "counted": 1,                        ended attempts that count towards --max-attempts
      "beat": 17,                          grows while the owner lives
      "lease": 120.0,                      seconds without a new beat after which it is dead
      "state": "running",                  running | released | ended
      "outcome": {"cause": "completed", "exit_code": 0, "detail": ""},    null until ended
      "previous_cause": "host-fault",      why the attempt before this one ended; null for the first
      "submitted": 1795297657.7,           experiment.time_added, tells a new submission of the key
      "buried": false,                     the message went to the dead letters with this outcome
      "burying": false,                    it was on its way there: whoever gets it buries it
      "message": "6f…",                    id of the message that carries the claim
      "replaced": ["5e…"],                 ids of those that carried it before: to be deleted
      "host": "gpu-box-1",
      "begun_at": 1795297660.1             when the attempt was claimed, by that clock; 0: unknown
      "updated_at": 1795297700.2           the owner's clock; for people, never compared
    }

``state`` "ended" means that everything the experiment left is stored: a client that waits reads
``outcome`` then, and nothing before.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from runner.model import (
    Artifact,
    Cause,
    Completed,
    Failed,
    Location,
    Outcome,
    Request,
    Stopped,
)

_VERSION = 1
_MAX_DETAIL = 4000
#: Only the last of them may still come back.
_MOST_REPLACED = 100
#: A lease longer than this in a record is not believed.
_MAX_LEASE = timedelta(hours=1)
#: Schemes that can only be read.
_READ_ONLY = frozenset({"http", "https", "shub", "dockerhub"})


class State(enum.StrEnum):
    """Whether anybody works on the experiment. Values are kept in the record."""

    RUNNING = "running"
    #: Given back: whoever gets the message next may start at once.
    RELEASED = "released"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a claim; ``run`` is unique to one attempt and survives the daemon."""

    host: str
    #: Stable for a daemon's state directory.
    daemon: str
    run: str


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """How the experiment ended, for whoever reads the record."""

    #: A value of ``Cause``, of this version or a later one.
    cause: str
    exit_code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """The record; see the module's docstring for its fields."""

    key: str
    owner: Owner
    attempt: int = 1
    counted: int = 0
    beat: int = 0
    lease: timedelta = timedelta(minutes=2)
    state: State = State.RUNNING
    outcome: RecordedOutcome | None = None
    previous_cause: str | None = None
    submitted: float | None = None
    buried: bool = False
    #: With ``buried``, until the dead letter is where it belongs.
    burying: bool = False
    #: Empty where a version wrote the record that did not know it yet.
    message: str = ""
    replaced: tuple[str, ...] = ()
    #: Zero where a version wrote the record that did not know it yet.
    begun_at: float = 0.0
    updated_at: float = 0.0

    def alive_for(self, default: timedelta) -> timedelta:
        """Return how long its owner may be silent before it counts as dead."""
        return self.lease if timedelta(0) < self.lease <= _MAX_LEASE else default

    def handed_to(self, message: str) -> ClaimRecord:
        """Return it with this message as the one that carries the claim from now on."""
        before = (one for one in (*self.replaced, self.message) if one not in {"", message})
        return replace(self, message=message, replaced=tuple(before)[-_MOST_REPLACED:])

    def encode(self) -> bytes:
        """Write the record as the object's body."""
        outcome = self.outcome
        document = {
            "version": _VERSION,
            "key": self.key,
            "owner": {
                "host": self.owner.host,
                "daemon": self.owner.daemon,
                "run": self.owner.run,
            },
            "attempt": self.attempt,
            "counted": self.counted,
            "beat": self.beat,
            "lease": self.lease.total_seconds(),
            "state": self.state.value,
            "outcome": outcome
            and {
                "cause": outcome.cause,
                "exit_code": outcome.exit_code,
                "detail": outcome.detail,
            },
            "previous_cause": self.previous_cause,
            "submitted": self.submitted,
            "buried": self.buried,
            "burying": self.burying,
            "message": self.message,
            "replaced": list(self.replaced),
            "host": self.owner.host,
            "begun_at": self.begun_at,
            "updated_at": self.updated_at,
        }
        return json.dumps(document, indent=1).encode() + b"\n"


def decode(body: bytes) -> ClaimRecord | None:
    """Read a record; ``None`` for a body that is none. Unknown fields are passed over."""
    try:
        data = json.loads(body)
        return _from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _from_json(data: dict[str, Any]) -> ClaimRecord:
    owner, outcome = data["owner"], data.get("outcome")
    submitted, previous = data.get("submitted"), data.get("previous_cause")
    return ClaimRecord(
        key=str(data["key"]),
        owner=Owner(str(owner["host"]), str(owner["daemon"]), str(owner["run"])),
        attempt=int(data["attempt"]),
        counted=int(data["counted"]),
        beat=int(data["beat"]),
        lease=timedelta(seconds=float(data.get("lease", 0))),
        state=State(data["state"]),
        outcome=None if outcome is None else _outcome(outcome),
        previous_cause=None if previous is None else str(previous),
        submitted=None if submitted is None else float(submitted),
        buried=bool(data.get("buried", False)),
        burying=bool(data.get("burying", False)),
        message=str(data.get("message", "")),
        replaced=tuple(str(one) for one in data.get("replaced", ())),
        begun_at=float(data.get("begun_at", 0)),
        updated_at=float(data.get("updated_at", 0)),
    )


def _outcome(data: dict[str, Any]) -> RecordedOutcome:
    code = data.get("exit_code")
    return RecordedOutcome(
        str(data["cause"]), None if code is None else int(code), str(data.get("detail", ""))
    )


def recorded(outcome: Outcome) -> RecordedOutcome:
    """Return what the record keeps of an outcome; a very long detail is cut."""
    return RecordedOutcome(outcome.cause.value, outcome.exit_code, outcome.detail[:_MAX_DETAIL])


def outcome_of(ended: RecordedOutcome) -> Outcome:
    """Return the outcome of which the record tells; a cause of a later version is a failure."""
    cause = next((one for one in Cause if one.value == ended.cause), Cause.INTERNAL)
    if cause is Cause.COMPLETED:
        return Completed(detail=ended.detail)
    if cause is Cause.CANCELLED:
        return Stopped(cause, ended.exit_code, ended.detail)
    return Failed(cause, ended.exit_code, ended.detail)


class Verdict(enum.Enum):
    """What an existing record means for somebody who holds the message."""

    #: It is this very attempt: the run of a daemon that was restarted.
    OURS = enum.auto()
    #: Nobody works on it: the next attempt may start.
    FREE = enum.auto()
    #: The same key was submitted anew after the record's experiment ended or was given back.
    ANEW = enum.auto()
    #: Somebody else works on it, or seems to.
    BEATING = enum.auto()
    ENDED = enum.auto()


def judge(record: ClaimRecord, run: str, submitted: float | None) -> Verdict:
    """Say what ``record`` means to run ``run`` of a message with that ``time_added``."""
    if record.state is State.RUNNING:
        return Verdict.OURS if record.owner.run == run else Verdict.BEATING
    if submitted is not None and record.submitted is not None and submitted > record.submitted:
        return Verdict.ANEW
    return Verdict.ENDED if record.state is State.ENDED else Verdict.FREE


def successor(record: ClaimRecord, fresh: ClaimRecord) -> ClaimRecord:
    """Return the record of the next attempt after ``record``.

    An owner that fell silent is a host fault and counts: the experiment may be what killed it.
    """
    silent = record.state is State.RUNNING
    ended = None if record.outcome is None else record.outcome.cause
    return replace(
        fresh,
        attempt=record.attempt + 1,
        replaced=record.replaced,
        counted=record.counted + silent,
        previous_cause=Cause.HOST_FAULT.value if silent else ended or record.previous_cause,
    )


def claim_artifact(request: Request) -> Artifact | None:
    """Return the artifact beside which the claim record lies, with whose credentials.

    ``output``, else the first mutable label; ``None`` when the experiment gives no writable place.
    """
    writable = {
        label: artifact
        for label, artifact in request.artifacts.items()
        if artifact.mutable and artifact.location.scheme not in _READ_ONLY
    }
    return writable.get("output") or next((writable[label] for label in sorted(writable)), None)


def claim_location(request: Request) -> Location | None:
    """Return where the claim record lies."""
    artifact = claim_artifact(request)
    if artifact is None:
        return None
    directory, slash, _ = artifact.location.key.rpartition("/")
    return replace(artifact.location, key=f"{directory}{slash}_claim.{request.experiment.key}.json")
