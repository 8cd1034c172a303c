"""What forbids to claim anything at all, said once when it begins and once when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from runner import log
from runner.lifecycle.claiming.rules import Rules
from runner.lifecycle.claiming.suspension import Suspension

_log = log.get_logger(__name__)


class Obstacles:
    """A disk that is nearly full, hours in which nothing is to be claimed, and who wants none."""

    def __init__(
        self,
        rules: Rules,
        disk_is_low: Callable[[], str] = lambda: "",
        wall: Callable[[], float] = time.time,
        suspension: Suspension | None = None,
    ) -> None:
        """``disk_is_low`` says why, or nothing; ``wall`` counts seconds since the epoch."""
        self._rules = rules
        self._disk_is_low = disk_is_low
        self._wall = wall
        self._suspension = suspension or Suspension()
        self._disk = ""
        self._is_off_hours = False

    def look(self) -> str:
        """Return why nothing is claimed now; empty where nothing forbids it."""
        self._look_at_disk()
        self._look_at_clock()
        return self.said

    @property
    def said(self) -> str:
        """What the last look saw."""
        if self._suspension.said:
            return self._suspension.said
        if self._is_off_hours:
            return f"it is outside the active hours ({self._rules.hours})"
        return self._disk

    @property
    def disk(self) -> str:
        """What the last look at the disk alone saw."""
        return self._disk

    @property
    def is_off_hours(self) -> bool:
        """Whether the last look saw hours in which nothing is to be claimed."""
        return self._is_off_hours

    @property
    def last_long(self) -> bool:
        """What waits with a message in hand gives it back."""
        return self._is_off_hours or bool(self._suspension.said)

    def ends_within(self, seconds: float) -> bool:
        """Tell whether the active hours end so soon."""
        is_open_at = self._rules.is_open_at
        return is_open_at is not None and not is_open_at(self._wall() + seconds)

    def _look_at_disk(self) -> None:
        complaint = self._disk_is_low()
        if complaint and not self._disk:
            _log.error("nothing is claimed", reason=complaint)
        if self._disk and not complaint:
            _log.info("claiming again, there is disk space")
        self._disk = complaint

    def _look_at_clock(self) -> None:
        is_off = self.ends_within(0)
        if is_off != self._is_off_hours:
            _log.info(
                "it is outside the active hours: nothing is claimed, what runs goes on"
                if is_off
                else "the active hours have begun: claiming again",
                hours=self._rules.hours,
            )
        self._is_off_hours = is_off
