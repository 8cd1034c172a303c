"""Which message a daemon may have died of, told from what it had in hand."""

from __future__ import annotations

from collections.abc import Sequence

from runner.lifecycle.runs.record import Phase, Record


def with_blame(records: Sequence[Record]) -> list[Record]:
    """Return the records with one more death for the one that is blamed for the daemon's end.

    What was being made ready may have been it: read, fetched, unpacked, built. One is blamed, the
    one that has been there most often, so that what comes back at once and what comes back later
    are soon parted, and an experiment beside a deadly one is not buried with it. Where the daemon
    left in order, nobody is.
    """
    suspects = [one for one in records if one.phase is Phase.PREPARING and not one.is_left]
    blamed = max(suspects, key=lambda one: (one.counted + one.deaths, one.claimed_at), default=None)
    return [one.but(deaths=one.deaths + 1) if one is blamed else one for one in records]
