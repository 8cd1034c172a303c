"""When a run is told to end and when it is killed. Pure: it is given the time, it never asks."""

#: What was left behind by an experiment that ended by itself gets this long, in seconds.
LEFTOVER_GRACE = 2.0
#: Reasons that are no causes of the daemon's.
ORPHANED = "orphaned"
TERMINATED = "terminated"

WAIT = ""
TERM = "term"
KILL = "kill"


class Countdown:
    """The deadlines of one run, on the monotonic clock, in seconds.

    The first reason to stop is the reason; a later one can only shorten the grace.
    """

    def __init__(
        self, limits: dict[str, float], grace: float, orphan_timeout: float, now: float
    ) -> None:
        self._limits = {reason: now + seconds for reason, seconds in limits.items()}
        self._grace = grace
        self._orphan_timeout = orphan_timeout
        self._adopted_at = now
        self._told = False
        #: Why the run is being ended; empty while it is not.
        self.reason = ""
        #: When patience ends; ``None`` while nothing was asked to end.
        self.kill_at: float | None = None

    def stop(self, reason: str, now: float, grace: float | None = None) -> None:
        """End the run; ``grace`` is its own when none is given."""
        self.reason = self.reason or reason
        self._shorten(now + (self._grace if grace is None else max(0.0, grace)))

    def leftovers(self, now: float) -> None:
        """The experiment has ended; what it started goes too, by the same TERM and KILL."""
        self._shorten(now + min(self._grace, LEFTOVER_GRACE))

    def adopted(self, now: float) -> None:
        """A daemon looks after the run."""
        self._adopted_at = now

    def look(self, now: float) -> str:
        """Return what to do now: ``TERM`` once, ``KILL`` as long as anything lives, or ``WAIT``."""
        if self.kill_at is None:
            for when, reason in sorted(self._ends()):
                if now >= when:
                    self.stop(reason, now)
                    break
        if self.kill_at is None:
            return WAIT
        if now >= self.kill_at:
            return KILL
        first, self._told = not self._told, True
        return TERM if first else WAIT

    def next(self) -> float:
        """Return the moment from which ``look`` may answer something else."""
        if self.kill_at is not None:
            return self.kill_at
        return min(when for when, _ in self._ends())

    def _ends(self) -> list[tuple[float, str]]:
        orphaned = (self._adopted_at + self._orphan_timeout, ORPHANED)
        return [orphaned, *((when, reason) for reason, when in self._limits.items())]

    def _shorten(self, kill_at: float) -> None:
        self.kill_at = kill_at if self.kill_at is None else min(self.kill_at, kill_at)
