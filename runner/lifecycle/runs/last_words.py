"""How a run ended, in one clause, with the numbers that its owner needs."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from datetime import timedelta

from runner.lifecycle.runs.exits import Exit
from runner.model import Cause
from runner.request.units import format_duration

#: What usually sends it, for who has never met it.
_MEANINGS: Mapping[int, str] = {
    signals.SIGSEGV: "it touched memory that is not its own",
    signals.SIGABRT: "it gave itself up, as a library does that finds something impossible",
    signals.SIGBUS: "a file that it had mapped is shorter now, or /dev/shm is full",
    signals.SIGILL: "it is built for another kind of processor",
    signals.SIGFPE: "it divided by zero",
    signals.SIGKILL: "somebody killed it, and that was not the runner",
    signals.SIGTERM: "somebody told it to end, and that was not the runner",
    signals.SIGPIPE: "it wrote to somebody who had gone",
    signals.SIGXCPU: "it had set itself a limit of processor time",
    signals.SIGXFSZ: "it had set itself a limit of file size",
}
#: Shells add it to the number of the signal that ended what they ran.
_OF_SHELLS = 128
_LIMITS: Mapping[Cause, str] = {
    Cause.TIME_LIMIT: "it had run for {ran}, and may run for {limit}",
    Cause.LIFETIME: "its lifetime of {limit} since it was submitted is over",
}


def last_words(end: Exit, limits: Mapping[Cause, timedelta]) -> str:
    """Return it; empty where there is nothing to say beyond the cause.

    ``limits`` are whole, not what was left of them when it started.
    """
    if end.detail:
        return end.detail
    reached = end.stopped_for
    if reached is not None and reached in _LIMITS and reached in limits:
        ran = format_duration(timedelta(seconds=round(end.duration.total_seconds())))
        return _LIMITS[reached].format(ran=ran, limit=format_duration(limits[reached]))
    if end.signal is not None:
        return f"it died of {_named(end.signal)}"
    return _exited(end.code) if end.code else ""


def _exited(code: int) -> str:
    said = f"it exited with {code}"
    if code - _OF_SHELLS in _MEANINGS:
        return f"{said}, which is how shells tell of {_named(code - _OF_SHELLS)}"
    return said


def _named(number: int) -> str:
    try:
        name = signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}: {_MEANINGS[number]}" if number in _MEANINGS else name
