"""What waits for a response queue stays within its bounds, and what is lost is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.responses.outbox import Letter, Outbox


def letter(number: int, *, matters: bool = False, size: int = 10, at: float = 0.0) -> Letter:
    """Return one of this size."""
    return Letter(f"{number:04d}".encode().ljust(size, b"."), at, matters, is_private=False)


PUTS = st.lists(st.tuples(st.booleans(), st.integers(4, 60)), max_size=300)


@given(PUTS, st.integers(1, 50), st.integers(100, 1000))
def test_bounds_hold_and_nothing_vanishes_uncounted(
    puts: list[tuple[bool, int]], most: int, longest: int
) -> None:
    """In number and in bytes; what is kept is in its order."""
    outbox = Outbox(most, longest)
    for number, (matters, size) in enumerate(puts):
        outbox.put(letter(number, matters=matters, size=size))
        assert len(outbox) <= most
    kept = outbox.take(len(puts) + 1, 10**9)
    assert sum(len(one.body) for one in kept) <= longest
    assert len(kept) + outbox.say_lost() == len(puts)
    assert outbox.say_lost() == 0
    assert [one.body[:4] for one in kept] == sorted(one.body[:4] for one in kept)


def test_what_matters_is_dropped_last() -> None:
    """An ending outlives ten thousand lines."""
    outbox = Outbox(100)
    outbox.put(letter(0, matters=True))
    for number in range(1, 10_000):
        outbox.put(letter(number))
    first = outbox.take(1, 1000)[0]
    assert first.matters
    assert outbox.lost >= 10_000 - 100


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=50), st.integers(1, 10), st.integers(1, 99)
)
def test_a_bundle_is_no_larger_than_asked_for(sizes: list[int], most: int, longest: int) -> None:
    """But for one letter that is too long by itself: somebody has to say so."""
    outbox = Outbox()
    for number, size in enumerate(sizes):
        outbox.put(letter(number, size=size))
    while outbox:
        taken = outbox.take(most, longest)
        assert 1 <= len(taken) <= most
        assert len(taken) == 1 or sum(len(one.body) for one in taken) <= longest


def test_what_comes_back_too_late_is_lost() -> None:
    """The rest is where it was: first."""
    outbox = Outbox()
    for number in range(4):
        outbox.put(letter(number, at=float(number)))
    outbox.put_back(outbox.take(3, 10**9), before=1.5)
    assert outbox.lost == 2
    assert [one.body[:4] for one in outbox.take(9, 10**9)] == [b"0002", b"0003"]
