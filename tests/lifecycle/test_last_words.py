"""What is said of an end holds the number that its owner needs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.last_words import last_words
from runner.model import Cause

LIMITS = {Cause.TIME_LIMIT: timedelta(minutes=10), Cause.LIFETIME: timedelta(hours=1)}
SEGV = "SIGSEGV: it touched memory that is not its own"
TEN_MINUTES = timedelta(minutes=10, seconds=1.4)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Exit(exits.EXITED, code=0), ""),
        (Exit(exits.EXITED, code=3), "it exited with 3"),
        (Exit(exits.EXITED, code=139), f"it exited with 139, which is how shells tell of {SEGV}"),
        (Exit(exits.EXITED, signal=11), f"it died of {SEGV}"),
        (Exit(exits.EXITED, signal=12), "it died of SIGUSR2"),
        (Exit(exits.EXITED, signal=50), "it died of signal 50"),
        (
            Exit("time-limit", stopped_for=Cause.TIME_LIMIT, signal=15, duration=TEN_MINUTES),
            "it had run for 10m1s, and may run for 10m",
        ),
        (
            Exit("lifetime", stopped_for=Cause.LIFETIME, signal=15),
            "its lifetime of 1h since it was submitted is over",
        ),
        (Exit("out-of-memory", signal=9, detail="it used 69 of 64 MB"), "it used 69 of 64 MB"),
    ],
)
def test_the_numbers_are_said(end: Exit, said: str) -> None:
    """What the supervisor knew goes first."""
    assert last_words(end, LIMITS) == said


@given(st.none() | st.integers(0, 300), st.none() | st.integers(1, 64))
def test_there_is_a_word_for_every_end(code: int | None, signal: int | None) -> None:
    """One line, whatever the number."""
    said = last_words(Exit(exits.EXITED, code=code, signal=signal), {})
    assert "\n" not in said
    assert bool(said) == bool(code or signal)
