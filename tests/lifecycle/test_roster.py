"""A queue that several credentials show is pulled through one of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.sources.roster import Roster

MOVES = st.tuples(st.booleans(), st.sampled_from("qr"), st.integers(0, 3))


@given(st.lists(MOVES))
def test_who_shows_a_queue_first_pulls_it_until_it_goes(
    moves: list[tuple[bool, str, int]],
) -> None:
    """Everybody's queue is pulled by one who shows it; nobody is replaced while they show it."""
    roster, shown = Roster[int](), dict[str, set[int]]()
    for shows, address, key in moves:
        before = dict(roster.pulled)
        keys = shown.setdefault(address, set())
        if shows:
            roster.show(address, key)
            keys.add(key)
        else:
            roster.withdraw(address, key)
            keys.discard(key)
        assert roster.pulled.keys() == {one for one, keys in shown.items() if keys}
        for one, puller in roster.pulled.items():
            assert puller in shown[one]
            assert before.get(one, puller) == puller or before[one] not in shown[one]
