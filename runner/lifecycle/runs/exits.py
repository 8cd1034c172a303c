"""How a run ended, as its supervisor recorded it: the evidence from which the cause is decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from runner import own_files
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.processes import Left
from runner.model import Bytes, Cause
from runner.own_files import Count, Moment

#: The experiment's first process ended by itself: ``code`` or ``signal`` says how.
EXITED = "exited"
#: It could not be started: ``detail`` says why. The command or its directory is wrong.
START_FAILED = "start-failed"
#: It could not be started as the sandbox demands: ``detail`` says why. The operator must act.
SANDBOX_UNAVAILABLE = "sandbox-unavailable"
#: No daemon looked after the run for its orphan timeout.
ORPHANED = "orphaned"
#: Somebody sent SIGTERM to the supervisor without a word.
TERMINATED = "terminated"
#: The supervisor itself was killed, or the machine restarted; what was left is ended.
VANISHED = "vanished"

#: Nothing of the experiment has run.
UNBEGUN = frozenset({START_FAILED, SANDBOX_UNAVAILABLE})

_NONE = Bytes(0)


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a run. All its processes are gone, but for ``survivors``."""

    #: One of this module's words, or the value of ``stopped_for``.
    reason: str
    #: Exit code of the experiment's first process, also of one that was stopped.
    code: int | None = None
    #: The signal it died of instead.
    signal: int | None = None
    #: The limit that was reached, or what ``Run.stop`` was told.
    stopped_for: Cause | None = None
    #: One sentence where ``reason`` needs one.
    detail: str = ""
    #: Seconds since the epoch; 0 when nobody recorded it.
    started_at: Moment = 0.0
    ended_at: Moment = 0.0
    #: By a clock that nobody sets.
    duration: timedelta = timedelta()
    #: What the experiment wrote, and how much of that is not in its output file.
    output_total: Bytes = _NONE
    output_cut: Bytes = _NONE
    #: Of the whole run where control groups or measuring tell, the page cache included where the
    #: groups do; else resident, of the largest single process.
    peak_memory: Bytes = _NONE
    #: User and system, of all processes.
    cpu_time: timedelta = timedelta()
    #: OOM kills during the run: in the run's own ``cgroup``, in one ``shared`` with the daemon and
    #: other runs, or on the whole ``machine``. But for the first, others may have been meant.
    oom_kills: Count = 0
    oom_scope: str = ""
    #: How often it could not have another process, for it had all that it may.
    forks_refused: int = 0
    #: No space was left when the output or the record was written.
    disk_full: bool = False
    #: Processes that not even SIGKILL could end, and who they are.
    survivors: Count = 0
    left: tuple[Left, ...] = ()
    #: Machine or container were restarted meanwhile.
    is_restarted: bool = False


#: Words of ours that are causes as well, but nobody asked for them.
_NOT_STOPPED = {ORPHANED, SANDBOX_UNAVAILABLE}
_SECONDS = ("duration", "cpu_time")


def parse(record: bytes) -> Exit | None:
    """Read ``exit.json``; ``None`` for what a power cut left of one."""
    try:
        fields = own_files.parsed(record, dict[str, Any])
        for name in _SECONDS:
            fields[name] = timedelta(seconds=fields[name])
        fields["left"] = tuple(processes.read(fields.get("left", "")))
        if fields["reason"] in set(Cause) - _NOT_STOPPED:
            fields["stopped_for"] = Cause(fields["reason"])
        return msgspec.convert(fields, Exit)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
