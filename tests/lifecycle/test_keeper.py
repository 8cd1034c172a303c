"""The keeper renews whatever the main loop does, and says when a lease is lost."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import anyio
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, QueueUnavailable, RunnerError, StoreUnavailable
from runner.lifecycle.ownership.keeper import Keeper
from runner.stores.base import AccessDenied

pytestmark = pytest.mark.anyio
#: Seconds for anything that must happen.
PATIENCE = 60.0


class Beats:
    """Counts renewals, and fails as told."""

    def __init__(self, *errors: Exception | None) -> None:
        self.times: list[float] = []
        self._errors = list(errors)

    async def seen(self, count: int) -> None:
        """Wait until there were so many."""
        with anyio.fail_after(PATIENCE):
            while len(self.times) < count:  # noqa: ASYNC110 - beats come from another loop
                await anyio.sleep(0.01)

    async def __call__(self) -> None:
        """Renew once."""
        self.times.append(time.monotonic())
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error


def never(error: RunnerError) -> None:
    """Fail: this lease must not be lost."""
    pytest.fail(f"lost: {error}")


async def test_a_blocked_main_loop_costs_no_lease() -> None:
    """Pure Python that holds the main loop for longer than a lease does not stop the renewals."""
    beats = Beats()
    async with Keeper() as keeper:
        held = await keeper.hold("m", beats, lease=timedelta(seconds=0.3), lost=never)
        end = time.monotonic() + PATIENCE
        while len(beats.times) < 12 and time.monotonic() < end:
            pass
        renewed = len(beats.times)  # before the main loop gets its next turn
        await keeper.release(held)
    assert renewed >= 12


async def test_a_lost_lease_is_told_on_the_main_loop() -> None:
    """What the broker calls lost reaches the callback, and renewing ends."""
    beats = Beats(LeaseLost("gone"))
    told = anyio.Event()
    errors: list[RunnerError] = []

    def lost(error: RunnerError) -> None:
        errors.append(error)
        told.set()

    async with Keeper() as keeper:
        held = await keeper.hold("m", beats, lease=timedelta(seconds=0.06), lost=lost)
        with anyio.fail_after(PATIENCE):
            await told.wait()
        await keeper.release(held)
    assert str(errors[0]) == "gone"
    assert len(beats.times) == 1


async def test_a_broker_that_comes_back_in_time_costs_nothing() -> None:
    """Renewals that fail for less than a lease are tried again."""
    beats = Beats(QueueUnavailable(), QueueUnavailable(), None)
    async with Keeper() as keeper:
        held = await keeper.hold("m", beats, lease=timedelta(seconds=4), lost=never)
        await beats.seen(3)
        await keeper.release(held)


async def test_a_broker_that_stays_away_loses_the_lease() -> None:
    """After a whole lease without a confirmed renewal the message may be somebody else's."""
    beats = Beats(*[QueueUnavailable("no answer")] * 1000)
    told = anyio.Event()
    async with Keeper() as keeper:
        held = await keeper.hold(
            "m", beats, lease=timedelta(seconds=0.2), lost=lambda _: told.set()
        )
        with anyio.fail_after(PATIENCE):
            await told.wait()
        await keeper.release(held)


async def test_nothing_is_renewed_after_release() -> None:
    """A released promise is never renewed again, so that settling cannot race a renewal."""
    beats = Beats()
    async with Keeper() as keeper:
        held = await keeper.hold("m", beats, lease=timedelta(seconds=0.03), lost=never)
        await beats.seen(1)
        await keeper.release(held)
        count = len(beats.times)
        await anyio.sleep(0.1)
    assert len(beats.times) == count


async def test_errors_of_a_call_reach_the_caller() -> None:
    """What fails on the keeper's loop fails where it was posted."""

    async def fail() -> None:
        raise QueueUnavailable("down")

    async with Keeper() as keeper:
        with pytest.raises(QueueUnavailable, match="down"):
            await keeper.run(fail)


async def test_what_fails_in_an_unforeseen_way_is_tried_again() -> None:
    """A defect in a backend, or keys that were withdrawn, must not end the renewing in silence."""
    beats = Beats(ValueError("a defect"), AccessDenied("withdrawn"), None)
    async with Keeper() as keeper:
        held = await keeper.hold("m", beats, lease=timedelta(seconds=4), lost=never)
        await beats.seen(3)
        await keeper.release(held)


async def test_what_does_not_expire_is_lost_only_when_somebody_says_so() -> None:
    """A store that is away for many leases takes nothing from us."""
    beats = Beats(*[StoreUnavailable("away")] * 20, LeaseLost("taken over"))
    told = anyio.Event()
    async with Keeper() as keeper:
        held = await keeper.hold(
            "m", beats, lease=timedelta(seconds=0.05), lost=lambda _: told.set(), expires=False
        )
        with anyio.fail_after(PATIENCE):
            await told.wait()
        await keeper.release(held)
    assert len(beats.times) == 21


async def test_a_renewal_that_hangs_does_not_delay_the_release() -> None:
    """A dead connection must not keep a message from being settled."""
    begun = threading.Event()

    async def hang() -> None:
        begun.set()
        await anyio.sleep_forever()

    async with Keeper() as keeper:
        held = await keeper.hold("m", hang, lease=timedelta(seconds=9), lost=never)
        await anyio.to_thread.run_sync(begun.wait)
        with anyio.fail_after(2.8):  # before the renewal gives up by itself
            await keeper.release(held)


async def test_a_daemon_that_leaves_renews_everything_a_last_time() -> None:
    """One that hangs or is lost keeps the others from nothing."""
    beats = [Beats(), Beats(LeaseLost("gone")), Beats(QueueUnavailable("away")), Beats()]
    async with Keeper() as keeper:
        for one in beats:
            await keeper.hold("m", one, lease=timedelta(hours=1), lost=never)
        await keeper.renew_all()
    assert [len(one.times) for one in beats] == [1, 1, 1, 1]


async def test_a_cancelled_daemon_leaves_no_thread() -> None:
    """Its end does not wait for promises that nobody will ever release."""
    with anyio.CancelScope() as scope:
        async with Keeper() as keeper:
            await keeper.hold("m", Beats(), lease=timedelta(hours=1), lost=never)
            scope.cancel()
            await anyio.sleep_forever()
    assert not [thread for thread in threading.enumerate() if thread.name == "keeper"]


async def test_a_cancelled_call_has_ended_when_its_caller_goes_on() -> None:
    """A claim that was being written is there, or not, before anybody looks whether it is."""
    begun, steps = threading.Event(), list[str]()

    async def write() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(time.sleep, 0.1)
                steps.append("written")

    async with Keeper() as keeper:
        async with anyio.create_task_group() as group:
            group.start_soon(keeper.run, write)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
        steps.append("gone on")
    assert steps == ["written", "gone on"]
