"""Options about what is claimed, when, and in which order."""

from __future__ import annotations

import re
from typing import ClassVar

from runner.settings import kinds
from runner.settings.hours import Window, window
from runner.settings.kinds import Kind
from runner.settings.option import group, option


def _read_priority(text: str) -> tuple[re.Pattern[str], int]:
    pattern, equals, number = text.strip().rpartition("=")
    if not pattern or not equals:
        raise ValueError("no priority")
    try:
        return re.compile(pattern), int(number)
    except re.error as error:
        raise ValueError(str(error)) from error


PRIORITY = Kind(
    lambda text, _environ: _read_priority(text),
    "a regular expression and a whole number such as ^local_urgent=10",
    "REGEX=N",
    separator=None,
)
WINDOW = Kind(
    lambda text, _environ: window(text),
    "hours such as 19:00-07:00 or 'mon-fri 19:00-07:00'; 00:00-24:00 is a whole day",
    "HOURS",
)


@group
class ClaimOptions:
    """Turns and bounds; ``docs/scheduling.md`` tells how queues share the machine."""

    GROUP: ClassVar = "Claiming"

    queue_priority: tuple[tuple[re.Pattern[str], int], ...] = option(
        PRIORITY,
        "",
        "queues in whose name this is found come before all those of a lower number while anything "
        "waits in them; the first that is found counts, the others have 0",
        repeatable=True,
    )
    active_hours: tuple[Window, ...] = option(
        WINDOW,
        "",
        "nothing is claimed outside these hours of the machine's time zone; what runs goes on",
        repeatable=True,
    )
    max_experiments: int = option(
        kinds.COUNT, "0", "experiments at a time; 0 means as many as there is room for"
    )
