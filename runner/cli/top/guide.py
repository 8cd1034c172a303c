"""The help: which key does what, and what the columns mean, for a terminal of any width; pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.text import Text

from runner.cli.top.grid import fitted

_KEYS = (
    ("Enter", "live output of the selected run"),
    ("Esc", "back"),
    ("c", "cancel the selected run"),
    ("d", "drain: finish what runs, and end"),
    ("s", "suspend: nothing more is claimed"),
    ("r", "resume: claim again"),
    ("?", "this"),
    ("q", "quit; nothing ends by that"),
    ("k, up", "the run above"),
    ("j, down", "the run below"),
    ("g, Home", "the first run"),
    ("G, End", "the last run"),
    ("page up", "a page up"),
    ("page down", "a page down"),
    ("Ctrl-L", "draw all of it anew"),
    ("Ctrl-Z", "to the shell; fg comes back"),
)
_NOTES = (
    "c, d, s and r ask first.",
    (
        "TIME, CPU, MEMORY, DISK: what a run has taken of what it was given; yellow from 90 %. "
        "GPU: the numbers of its cards, as in the list of GPUs."
    ),
)
#: Of the keys; of the first column; of both, with every line whole.
_FIRST, _COLUMN, _BOTH = 10, 43, 80
_NARROWEST = 10


def lines(width: int) -> list[Text]:
    """Return them in two columns where there is room, else in one."""
    if width >= _BOTH:
        half = len(_KEYS) // 2
        pairs = zip(_column(_KEYS[:half], _BOTH), _column(_KEYS[half:], _BOTH), strict=True)
        found = [f"{left:<{_COLUMN}}{right}" for left, right in pairs]
    else:
        found = list(_column(_KEYS, width))
    for note in _NOTES:
        found += ["", *textwrap.wrap(note, max(_NARROWEST, width))]
    return [fitted(Text(line), width) for line in found]


def _column(keys: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    room = max(_NARROWEST, width - _FIRST)
    for key, does in keys:
        first, *more = textwrap.wrap(does, room)
        yield f"{key:<{_FIRST}}{first}"
        yield from (f"{'':<{_FIRST}}{line}" for line in more)
