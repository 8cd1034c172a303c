"""Calls into a store that somebody does not want to wait for any more."""

from __future__ import annotations

import threading

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from runner.blocking import Interrupted
from runner.client.calls import Calls, side_by_side


def test_a_call_that_is_cut_is_over() -> None:
    """Whatever it waits for, in whichever thread; later ones are not."""
    begun, over = threading.Event(), threading.Event()

    async def stalled() -> None:
        begun.set()
        await anyio.sleep_forever()

    def wait() -> None:
        with pytest.raises(Interrupted):
            calls.call(stalled)
        over.set()

    with start_blocking_portal() as portal:
        calls = Calls(portal)
        thread = threading.Thread(target=wait)
        thread.start()
        assert begun.wait(60)
        calls.cut()
        thread.join()
        assert over.is_set()
        calls.call(anyio.lowlevel.checkpoint)


def test_who_is_interrupted_waits_for_nobody() -> None:
    """Those under way are cut, and the others are never begun."""
    begun: list[int] = []
    cut = threading.Event()

    def look(value: int) -> int:
        begun.append(value)
        if value:
            cut.wait(10)
        return value

    found = side_by_side(look, range(100), cut.set)
    assert next(found) == 0
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)  # type: ignore[attr-defined]  # it is a generator
    assert cut.is_set()
    assert len(begun) < 20
