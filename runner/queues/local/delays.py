"""Messages that nobody sees before their time."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from runner.queues.local import counts, letters, names
from runner.queues.local.places import Places, free_name, listed


def now() -> int:
    """Return the time by which delays are measured: milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def put(places: Places, source: Path, name: str, delay: timedelta) -> None:
    """Hide the message file for ``delay``. Raises FileNotFoundError when it is gone."""
    due = now() + int(delay.total_seconds() * 1000)
    source.rename(places.delayed / names.delayed_until(due, name))


def bring_back(places: Places, at: int) -> int | None:
    """Show what is due at ``at`` and return when the next is, both in milliseconds."""
    later: list[int] = []
    for file_name in listed(places.delayed):
        delayed = names.delayed_of(file_name)
        if delayed is None:
            continue
        if delayed.due > at:
            later.append(delayed.due)
        else:
            _show(places, places.delayed / file_name, delayed.name)
    return min(later, default=None)


def _show(places: Places, source: Path, name: str) -> None:
    try:
        source.rename(places.messages / free_name(places.messages, name))
    except FileNotFoundError:
        if places.messages.is_dir():
            return  # another runner was faster
        letter = letters.aborted(name, counts.read(places, name))
        with suppress(FileNotFoundError):
            letters.put(places, source, letter)
