"""What is begun ahead is there when it is asked for, and its trouble is not lost."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from runner.app.ahead import Ahead
from runner.errors import Misconfigured

pytestmark = pytest.mark.anyio


async def test_what_was_begun_ahead_is_waited_for() -> None:
    """It goes on meanwhile, and is asked as often as anybody likes."""
    go = anyio.Event()

    async def work() -> str:
        await go.wait()
        return "found"

    async with anyio.create_task_group() as group:
        ahead = Ahead(group, work)
        await anyio.lowlevel.checkpoint()
        go.set()
        assert await ahead.result() == "found"
        assert await ahead.result() == "found"


async def test_its_error_ends_who_waits() -> None:
    """With the very error that says what the operator has to do."""

    async def work() -> str:
        raise Misconfigured("choose another one")

    with pytest.raises(ExceptionGroup) as raised:
        async with anyio.create_task_group() as group:
            await Ahead(group, work).result()
    assert [str(error) for error in raised.value.exceptions] == ["choose another one"]


async def test_a_start_that_fails_sees_it_to_its_end() -> None:
    """So no process of it is left that nobody waits for."""
    ended = list[str]()

    async def work() -> str:
        await anyio.run_process(["true"])
        ended.append("")
        return ""

    async with anyio.create_task_group() as group:
        Ahead(group, work)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert ended == [""]
