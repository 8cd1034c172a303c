"""For how long a queue has waited for room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.claiming.want import Want

STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "anew", "pass"]), st.sampled_from("abc")),
    max_size=60,
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_asking_again_begins_nothing_anew() -> None:
    """A message that goes back and comes again, and a second question, change no beginning."""
    clock = Clock()
    want: Want[str] = Want(clock)
    want.begin("a")
    clock.now = 3600.0
    want.begin("a")
    want.begin("b")
    assert want.longer_than(3600.0) == ("a",)
    want.end("a")
    assert want.longer_than(0.0) == ("b",)


def test_time_in_which_nothing_was_to_be_claimed_does_not_count() -> None:
    """A full disk and a suspended daemon are no want of room."""
    clock = Clock()
    want: Want[str] = Want(clock)
    want.begin("a")
    clock.now = 3600.0
    want.begin_anew()
    assert want.longer_than(1.0) == ()
    clock.now = 3601.0
    assert want.longer_than(1.0) == ("a",)


@given(STEPS)
def test_it_counts_from_the_last_beginning(steps: list[tuple[str, str]]) -> None:
    """Nothing else is remembered, whatever came before."""
    clock = Clock()
    want: Want[str] = Want(clock)
    model: dict[str, float] = {}
    for step, queue in steps:
        clock.now += 1.0
        if step == "begin":
            want.begin(queue)
            model.setdefault(queue, clock.now)
        elif step == "end":
            want.end(queue)
            model.pop(queue, None)
        elif step == "anew":
            want.begin_anew(queue)
            model.update({queue: clock.now} if queue in model else {})
        for seconds in (0.0, 3.0, 10.0):
            expected = {name for name, since in model.items() if clock.now - since >= seconds}
            assert set(want.longer_than(seconds)) == expected
