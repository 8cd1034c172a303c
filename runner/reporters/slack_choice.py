"""Which news Slack is told, and in which channel. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runner.model import Cause, News, Report

#: About the daemon and what is around it.
HOST = frozenset(
    {
        News.DAEMON_STARTED,
        News.DAEMON_DRAINING,
        News.DAEMON_STOPPED,
        News.QUEUE_SET_ASIDE,
        News.CREDENTIALS_CHANGED,
        News.NO_ROOM,
        News.DISK_LOW,
        News.GPU_WITHHELD,
        News.GPU_IDLE,
        News.MACHINE_ENDING,
        News.FUSE_BLOWN,
        News.RECOVERED,
        News.WARNING,
    }
)
_COURSE = frozenset({News.STARTED, News.CHECKPOINTED})
#: Ends that are no news: another runner has it, or it was no experiment.
_SILENT = frozenset({Cause.NOT_OURS, Cause.NOT_A_REQUEST, Cause.NO_ROOM, Cause.LEASE_LOST})


def is_told(report: Report, *, follows: bool) -> bool:
    """Tell whether it is for Slack; ``follows``: experiments are followed while they run."""
    if report.news is News.ENDED:
        return _is_result(report, follows=follows)
    return report.news in HOST or (follows and report.news in _COURSE)


def channel(report: Report, *, room: str, allowed: Sequence[re.Pattern[str]]) -> str:
    """Return where it is told: where its sender wants it, if the operator lets them choose that."""
    wanted = report.destination
    if wanted and any(pattern.fullmatch(wanted) for pattern in allowed):
        return wanted
    return room


def _is_result(report: Report, *, follows: bool) -> bool:
    result = report.result
    if result is None:
        return True
    is_put_off = result.outcome == "deferred" and not result.is_final
    if is_put_off or report.cause in _SILENT:
        # A run that was followed and lost its lease is somebody else's: its message says so.
        return follows and report.cause is Cause.LEASE_LOST
    return result.is_final or result.outcome != "stopped" or follows
