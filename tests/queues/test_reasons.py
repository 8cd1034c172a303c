"""A dead letter's reason fits where it is kept, and loses its middle alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.queues.reasons import shortened


@given(st.text(), st.integers(1, 60))
def test_it_is_never_longer_than_allowed(reason: str, most: int) -> None:
    """In bytes, as brokers count; and still text."""
    cut = shortened(reason, most)
    assert len(cut.encode()) <= most
    assert (cut == reason) is (len(reason.encode("utf-8", "replace")) <= most or cut == reason)


def test_why_it_was_buried_and_what_it_printed_last_are_kept() -> None:
    """Between them lies what is of least use."""
    lines = "\n".join(f"line {number}" for number in range(1000))
    cut = shortened(f"host-fault after 3 attempts: the daemon died\n\nlast output:\n{lines}", 200)
    assert cut.startswith("host-fault after 3 attempts: the daemon died\n\nlast output:\nline 0\n")
    assert "\n…\n" in cut
    assert cut.endswith("line 998\nline 999")
