"""How long one attempt may last, and how often it is saved (protocol sections 7.8 and 7.9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from runner.model import Cause, Request

#: An attempt without a limit of its own, and the most that any limit allows.
DEFAULT_CAP = timedelta(hours=96)
#: Checkpoints closer to each other would do nothing but upload.
SHORTEST_INTERVAL = timedelta(seconds=1)


def limits(
    request: Request, *, cap: timedelta = DEFAULT_CAP, now: float, claimed_at: float
) -> Mapping[Cause, timedelta]:
    """Return what is left of each limit at ``now``; zero or less means that it has passed.

    ``TIME_LIMIT`` is this attempt's, counted from the start of the run, so always whole here.
    ``LIFETIME`` counts over all attempts since the experiment was submitted, or since
    ``claimed_at`` (both in seconds since the epoch) where the client wrote no time, or one that
    lies after the claim.
    """
    experiment = request.experiment
    found = {Cause.TIME_LIMIT: min(cap, experiment.max_duration or cap)}
    if request.lifetime is not None:
        added = experiment.time_added
        start = claimed_at if added is None else min(added, claimed_at)
        # A clock that was set back makes no life longer than it was to be.
        found[Cause.LIFETIME] = request.lifetime - timedelta(seconds=max(0.0, now - start))
    return found


def allowed(left: Mapping[Cause, timedelta], *, started: float, now: float) -> float:
    """Return how many seconds a run may last in all, of what is ``left`` of each limit ``now``.

    A time limit is counted from the start of the run in any case.
    """
    return min(
        seconds if cause is Cause.TIME_LIMIT else now - started + seconds
        for cause, seconds in ((cause, one.total_seconds()) for cause, one in left.items())
    )


def checkpoint_interval(request: Request, default: timedelta | None) -> timedelta | None:
    """Return the time between checkpoints: the request's, else ``default`` (``None``: none)."""
    interval = request.checkpoint_interval or default
    return None if interval is None else max(interval, SHORTEST_INTERVAL)
