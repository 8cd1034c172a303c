"""The operator's rules about claiming, from the settings."""

from __future__ import annotations

import time
from functools import partial

from runner.app.users import at_most
from runner.lifecycle.claiming.rules import Rules
from runner.settings import Settings
from runner.settings.hours import Hours


def rules(settings: Settings) -> Rules:
    """Return what the intake goes by."""
    hours = Hours(settings.active_hours)
    return Rules(
        priorities=settings.queue_priority,
        is_open_at=partial(_are_open_at, hours) if hours.windows else None,
        hours=str(hours),
        at_most=at_most(settings),
        staged=settings.staged,
        staging_seconds=settings.staging_time.total_seconds(),
    )


def _are_open_at(hours: Hours, moment: float) -> bool:
    time.tzset()  # else the machine's zone would be what it was when we started
    return hours.are_open_at(moment)
