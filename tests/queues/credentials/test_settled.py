"""Which version of a file counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.queues.credentials.settled import Settled
from runner.queues.credentials.tree import Stamp

_QUIET = 0.5


def _stamp(number: int) -> Stamp:
    return Stamp(1, 1, number, number, number, 0o100600)


def test_a_file_counts_when_it_has_not_changed_for_a_while() -> None:
    """Not at the first sight, nor while it grows."""
    settled = Settled(_QUIET)
    for now, number in ((0.0, 1), (0.3, 2), (0.6, 3)):
        settled.look(now, {"a": _stamp(number)})
        assert settled.versions == {}
        assert settled.waits
    settled.look(1.1, {"a": _stamp(3)})
    assert settled.versions == {"a": _stamp(3)}
    assert not settled.waits


def test_a_file_that_is_rewritten_keeps_its_last_version() -> None:
    """From the first change to the end of the quiet."""
    settled = Settled(_QUIET)
    settled.look(0.0, {"a": _stamp(1)}, is_old=lambda _: True)
    for now, number in ((1.0, 2), (1.4, 3), (1.8, 3)):
        settled.look(now, {"a": _stamp(number)})
        assert settled.versions == {"a": _stamp(1)}
    settled.look(1.9, {"a": _stamp(3)})
    assert settled.versions == {"a": _stamp(3)}


def test_a_file_is_gone_when_it_stays_away() -> None:
    """One that is replaced is never missed."""
    settled = Settled(_QUIET)
    settled.look(0.0, {"a": _stamp(1)}, is_old=lambda _: True)
    settled.look(1.0, {})
    settled.look(1.2, {"a": _stamp(2)})
    assert settled.versions == {"a": _stamp(1)}
    settled.look(1.3, {})
    settled.look(1.9, {})
    assert settled.versions == {}
    assert not settled.waits


def test_a_file_that_may_be_there_is_not_gone() -> None:
    """A directory that cannot be read for a while takes nothing away."""
    settled = Settled(_QUIET)
    settled.look(0.0, {"a": _stamp(1)}, is_old=lambda _: True)
    for now in (1.0, 2.0, 3.0):
        settled.look(now, {}, may_hold=lambda _: True)
    assert settled.versions == {"a": _stamp(1)}


_LOOKS = st.lists(
    st.tuples(
        st.floats(0.01, 0.4),
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), max_size=3),
    ),
    max_size=30,
)


@given(_LOOKS)
def test_what_counts_was_seen_for_the_whole_quiet(
    looks: list[tuple[float, dict[str, int]]],
) -> None:
    """A version, or an absence, that counts anew was seen at every look for that long."""
    settled, now = Settled(_QUIET), 0.0
    history: list[tuple[float, dict[str, Stamp]]] = []
    for pause, numbers in looks:
        now += pause
        stamps = {path: _stamp(number) for path, number in numbers.items()}
        before = settled.versions
        settled.look(now, stamps)
        history.append((now, stamps))
        after = settled.versions
        for path in before.keys() | after.keys():
            if before.get(path) == after.get(path):
                continue
            first = next(
                at
                for at, _ in history
                if all(seen.get(path) == after.get(path) for when, seen in history if when >= at)
            )
            assert now - first >= _QUIET


@given(_LOOKS)
def test_everything_settles_in_the_end(looks: list[tuple[float, dict[str, int]]]) -> None:
    """Once nothing changes any more, what is there is what counts."""
    settled, now = Settled(_QUIET), 0.0
    stamps: dict[str, Stamp] = {}
    for pause, numbers in looks:
        now += pause
        stamps = {path: _stamp(number) for path, number in numbers.items()}
        settled.look(now, stamps)
    settled.look(now + _QUIET, stamps)
    settled.look(now + 2 * _QUIET + 0.01, stamps)
    assert settled.versions == stamps
    assert not settled.waits
