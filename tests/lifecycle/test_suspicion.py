"""A queue is deleted when the broker has said so for long enough, and nothing else was heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.sources.suspicion import Suspicion

APART = 60.0


def test_two_noes_a_minute_apart_are_a_deletion() -> None:
    """One is not, and neither are two in the same breath."""
    suspicion = Suspicion()
    assert [suspicion.absent(now, APART) for now in (0, 15, 59.9, 60)] == [False] * 3 + [True]


def test_a_queue_that_is_seen_starts_anew() -> None:
    """Whoever made it again wants its experiments to go on."""
    suspicion = Suspicion()
    suspicion.absent(0, APART)
    suspicion.there()
    assert not suspicion.absent(60, APART)
    assert suspicion.absent(120, APART)


def test_trouble_in_between_leaves_a_doubt_until_the_queue_is_seen() -> None:
    """A broker that was restarted may have lost a queue that nobody deleted."""
    suspicion = Suspicion()
    suspicion.trouble()
    assert not any(suspicion.absent(now, APART) for now in range(0, 600, 15))
    suspicion.there()
    assert not suspicion.absent(600, APART)
    assert suspicion.absent(660, APART)


WORDS = ("there", "absent", "trouble", "hint")
SIGNS = st.lists(st.tuples(st.sampled_from(WORDS), st.floats(0, 40)))


@given(SIGNS)
def test_only_an_uninterrupted_minute_of_noes_is_proof(signs: list[tuple[str, float]]) -> None:
    """Whatever comes in whatever order."""
    suspicion, now = Suspicion(), 0.0
    history: list[tuple[str, float]] = []
    for sign, later in signs:
        now += later
        history.append((sign, now))
        if sign == "absent":
            is_gone = suspicion.absent(now, APART)
            assert is_gone == _proven(history)
        else:
            getattr(suspicion, sign)()


def _proven(history: list[tuple[str, float]]) -> bool:
    told = [one for one in history if one[0] != "hint"]
    seen = max((i for i, (sign, _) in enumerate(told) if sign == "there"), default=-1)
    since = told[seen + 1 :]
    if any(sign == "trouble" for sign, _ in since):
        return False
    return since[-1][1] - since[0][1] >= APART
