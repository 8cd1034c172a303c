"""What ended in each hour of a day."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.day import HOURS, Day, Hour
from runner.model import Cause

NOW = 1_795_389_000.0
THIS_HOUR = 1_795_388_400


def test_each_ending_counts_in_its_hour_by_what_became_of_it() -> None:
    """What is tried again has not failed, nor has what somebody stopped."""
    day = Day()
    day.add(NOW, "completed", "acked")
    day.add(NOW, "exit", "acked")
    day.add(NOW - 3600, "bad-request", "buried")
    day.add(NOW - 3600, "cancelled", "acked")
    day.add(NOW - 3600, "drained", "released")
    hours = list(day.at(NOW))
    assert hours[-1] == Hour(THIS_HOUR, completed=1, failed=1)
    assert hours[-2] == Hour(THIS_HOUR - 3600, failed=1, other=2)


@given(
    st.lists(
        st.tuples(
            st.floats(NOW - 200_000, NOW),
            st.sampled_from(list(Cause)),
            st.sampled_from(["acked", "released", "buried"]),
        )
    )
)
def test_a_day_has_24_hours_in_order_and_forgets_the_rest(
    endings: list[tuple[float, Cause, str]],
) -> None:
    """Whatever came in whatever order."""
    day = Day()
    for ended, cause, settled in sorted(endings, key=lambda one: one[0]):
        day.add(ended, cause, settled)
    hours = list(day.at(NOW))
    assert [hour.start for hour in hours] == [THIS_HOUR - 3600 * n for n in range(HOURS)][::-1]
    counted = sum(hour.completed + hour.failed + hour.other for hour in hours)
    assert counted == sum(ended >= hours[0].start for ended, _, _ in endings)
    assert len(day._hours) <= 2 * HOURS
