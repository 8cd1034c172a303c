"""Nothing is claimed while anybody objects."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.claiming.admission import choose_gpus
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.claiming.suspension import OPERATOR, Intent, Suspension, intent
from runner.model import Bytes, Capacity
from runner.resources.ledger import Ledger

pytestmark = pytest.mark.anyio


def test_the_words_are_those_of_the_original() -> None:
    """Exact and case-sensitive; white space around them is an editor's."""
    assert intent("DrainAndSuspend\n") is Intent.SUSPEND
    assert intent(" DrainAndTerminate ") is Intent.TERMINATE
    assert [intent(text) for text in ("running", "Drain", "", "Unknown")] == [None] * 4


@given(
    st.lists(st.tuples(st.sampled_from(("a", "b", OPERATOR)), st.sampled_from(Intent)), max_size=20)
)
def test_it_holds_while_the_last_word_of_anybody_is_against(
    wishes: list[tuple[str, Intent]],
) -> None:
    """Each place has one wish, its latest; one of them to end is enough to end."""
    suspension = Suspension()
    for who, what in wishes:
        suspension.wish(who, what)
    latest = dict(wishes)
    against = {who for who, what in latest.items() if what is not Intent.RUNNING}
    assert set(suspension.by) == against
    assert bool(suspension.said) == bool(against)
    assert suspension.wants_end == (Intent.TERMINATE in latest.values())


def test_the_operators_wish_outlives_the_daemon_and_no_other_does(tmp_path: Path) -> None:
    """A restart is no resume; files and ConfigMaps are asked again."""
    file = tmp_path / "suspended"
    first = Suspension(file)
    first.wish(OPERATOR, Intent.SUSPEND)
    first.wish("STATE", Intent.SUSPEND)
    second = Suspension(file)
    assert second.by == (OPERATOR,)
    second.wish(OPERATOR, Intent.RUNNING)
    assert Suspension(file).by == ()


def test_listeners_hear_of_changes_alone() -> None:
    """The same wish again is no news."""
    suspension, heard = Suspension(), []
    suspension.listeners.append(lambda: heard.append(suspension.said))
    suspension.wish("a", Intent.SUSPEND)
    suspension.wish("a", Intent.SUSPEND)
    suspension.wish("a", Intent.RUNNING)
    assert heard == ["suspended by a", ""]


async def test_nobody_gets_a_turn_meanwhile() -> None:
    """Who waits gets one as soon as it is over."""
    intake = Intake(Ledger(Capacity(1, Bytes(1 << 30), Bytes(1 << 30)), choose_gpus))
    intake.suspension.wish("a", Intent.SUSPEND)
    assert intake.wants_nothing
    with anyio.move_on_after(0.05) as waited:
        await intake.slot()
    assert waited.cancelled_caught
    assert intake.complaint == "suspended by a"
    async with anyio.create_task_group() as group:
        group.start_soon(intake.slot)
        await anyio.wait_all_tasks_blocked()
        intake.suspension.wish("a", Intent.RUNNING)
    assert not intake.wants_nothing
