"""Blocking calls are joined whatever happens to the one who awaits them."""

from __future__ import annotations

import threading

import anyio
import pytest

from runner.blocking import Interrupted, Limit, Stop, call

pytestmark = pytest.mark.anyio

LIMIT = Limit(2)


async def test_results_and_errors_arrive_bare() -> None:
    """The awaiting task sees what the function returned or raised, without a group around it."""

    def fail(_: Stop) -> None:
        raise KeyError("x")

    assert await call(lambda _: 42, limit=LIMIT) == 42
    with pytest.raises(KeyError):
        await call(fail, limit=LIMIT)


async def test_a_cancelled_call_is_stopped_and_joined() -> None:
    """When the cancellation goes on, the function has ended."""
    begun, ended = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        begun.set()
        try:
            while True:
                stop.check()
        finally:
            ended.set()

    async with anyio.create_task_group() as group:

        async def wait() -> None:
            await call(work, limit=LIMIT)

        group.start_soon(wait)
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert ended.is_set()


async def test_a_call_that_was_cancelled_before_it_began_never_runs() -> None:
    """Nothing happens behind the back of one who has gone."""
    ran: list[int] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call(lambda _: ran.append(1), limit=LIMIT)
    assert ran == []


async def test_no_more_than_the_limit_run_at_once() -> None:
    """A third call waits for one of the first two."""
    lock, running, most = threading.Lock(), [0], [0]
    gate = threading.Barrier(2)

    def work(_: Stop) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(60)
        with lock:
            running[0] -= 1

    async with anyio.create_task_group() as group:

        async def one() -> None:
            await call(work, limit=LIMIT)

        for _ in range(6):
            group.start_soon(one)
    assert most[0] == 2


async def test_cancelling_often_hangs_never_and_leaves_nothing_running() -> None:
    """Whenever the cancellation comes: before, at or after the beginning of the call."""
    running: list[int] = []

    def work(stop: Stop) -> None:
        running.append(1)
        try:
            for _ in range(200):
                stop.check()
        finally:
            running.pop()

    for number in range(300):
        with anyio.move_on_after(number % 30 / 20_000):
            await call(work, limit=LIMIT)
        assert running == []


async def test_a_wait_without_checks_is_ended_by_a_call() -> None:
    """What the function registered is called when the awaiting task is cancelled."""
    begun, woken = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        with stop.calling(woken.set):
            begun.set()
            woken.wait()
            stop.check()

    async with anyio.create_task_group() as group:

        async def wait() -> None:
            await call(work, limit=LIMIT)

        group.start_soon(wait)
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert woken.is_set()


def test_calls_come_at_once_after_the_stop_and_never_outside_their_block() -> None:
    """A wait that begins late does not begin, and one that is over is left alone."""
    stop = Stop()
    called: list[str] = []
    with stop.calling(lambda: called.append("over")):
        pass
    stop.set()
    with stop.calling(lambda: called.append("late")):
        assert called == ["late"]


def test_a_pause_ends_with_the_stop() -> None:
    """A pause before the next try is no reason to go on."""
    stop = Stop()
    stop.pause(0)
    timer = threading.Timer(0.01, stop.set)
    timer.start()
    with pytest.raises(Interrupted):
        stop.pause(60)
    timer.join()
