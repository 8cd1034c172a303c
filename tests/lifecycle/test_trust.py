"""When a queue is set aside because its messages are for somebody else."""

from __future__ import annotations

import anyio
import pytest

from runner.lifecycle.sources.trust import FOREIGN_LIMIT, Trust

pytestmark = pytest.mark.anyio


def _took(trust: Trust, *, foreign: bool) -> None:
    trust.wait_for_one()
    trust.judge(is_foreign=foreign)


async def test_strangers_in_a_row_end_the_trust() -> None:
    """After three there is no more; before that there is."""
    trust = Trust()
    for _ in range(FOREIGN_LIMIT):
        assert await trust.allows_another()
        _took(trust, foreign=True)
    assert not await trust.allows_another()


async def test_a_request_between_strangers_restores_it() -> None:
    """Only strangers in a row count: one clumsy sender does not cost a queue."""
    trust = Trust()
    for foreign in (True, True, False, True, True):
        _took(trust, foreign=foreign)
    assert await trust.allows_another()


async def test_what_is_not_judged_yet_is_waited_for() -> None:
    """No fourth message is taken while the first three may all be strangers."""
    trust, allowed = Trust(), list[bool]()

    async def ask() -> None:
        allowed.append(await trust.allows_another())

    for _ in range(FOREIGN_LIMIT):
        assert await trust.allows_another()
        trust.wait_for_one()
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert allowed == []
        trust.judge(is_foreign=False)
    assert allowed == [True]


async def test_what_went_back_unread_is_waited_for_no_more() -> None:
    """It is neither a stranger nor a request: a machine in trouble must not stop a queue."""
    trust = Trust()
    _took(trust, foreign=True)
    _took(trust, foreign=True)
    trust.wait_for_one()
    trust.judge(is_foreign=None)
    assert trust.strangers == 2
    with anyio.fail_after(5):
        assert await trust.allows_another()


async def test_a_queue_that_was_named_is_trusted() -> None:
    """The operator knows what it holds."""
    trust = Trust(is_named=True)
    for _ in range(2 * FOREIGN_LIMIT):
        _took(trust, foreign=True)
    assert await trust.allows_another()


async def test_no_stranger_is_taken_twice() -> None:
    """Before the first of them comes back the queue is set aside, unless a request came by."""
    now = 100.0
    trust = Trust(clock=lambda: now)
    _took(trust, foreign=True)
    trust.doubt(50)
    assert await trust.allows_another()
    now = 149.0
    assert await trust.allows_another()
    now = 150.0
    assert trust.is_over
    assert not await trust.allows_another()
    assert trust.strangers == 1


async def test_a_request_ends_the_doubt() -> None:
    """A clumsy sender's message may be seen again: the queue is ours."""
    now = 100.0
    trust = Trust(clock=lambda: now)
    _took(trust, foreign=True)
    trust.doubt(50)
    _took(trust, foreign=False)
    now = 1000.0
    assert await trust.allows_another()
