"""Room before work: nobody receives a message without a slot, and slots are given in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from runner import log
from runner.model import Allocation, Capacity, Needs

_log = log.get_logger(__name__)

#: What a queue must at least find free before it is asked for a message.
LEAST = Needs(cores=1)

_DISK_LOOK_SECONDS = 10.0


class Ledger(Protocol):
    """What the intake needs of ``resources.ledger.Ledger``."""

    @property
    def free(self) -> Capacity:
        """What is not allocated."""

    @property
    def total(self) -> Capacity:
        """What may be allocated in all."""

    def reserve(self, needs: Needs) -> Allocation | None:
        """Take a share, or nothing."""

    def release(self, allocation: Allocation) -> None:
        """Give a share back."""

    def restore(self, allocation: Allocation) -> None:
        """Take exactly this share: an adopted run has it already."""


@dataclass(eq=False)
class _Waiter:
    needs: Needs
    since: float
    granted: anyio.Event = field(default_factory=anyio.Event)
    #: Stays empty when the intake was closed first.
    allocation: Allocation | None = None


class Intake:
    """Hands out the machine in the order of asking, with one reservation for what is too big now.

    The reservation belongs to a message that is held although it cannot start yet. While it is
    young, smaller experiments may still pass it; after ``patience`` seconds nobody does, so that it
    starts as soon as enough has been given back.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        disk_is_low: Callable[[], str] = lambda: "",
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._disk_is_low = disk_is_low
        self._patience = patience
        self._clock = clock
        self._waiting: list[_Waiter] = []
        self._reservation: _Waiter | None = None
        self._is_closed = False
        self._complaint = ""

    @property
    def ledger(self) -> Ledger:
        """The counts; for showing."""
        return self._ledger

    async def slot(self, needs: Needs = LEAST) -> Slot:
        """Wait for room for ``needs`` and hold it; a queue receives only with a slot in hand."""
        waiter = _Waiter(needs, self._clock())
        self._waiting.append(waiter)
        allocation = await self._granted(waiter, self._waiting.remove)
        assert allocation is not None  # noqa: S101 - a slot holds no message, and is not closed
        return Slot(self, allocation)

    @property
    def is_closed(self) -> bool:
        """The daemon ends: what has no room yet gets none."""
        return self._is_closed

    def close(self) -> None:
        """Let nobody wait for room with a message in hand any more."""
        self._is_closed = True
        if self._reservation is not None:
            self._reservation.granted.set()

    def release(self, allocation: Allocation) -> None:
        """Give a share back and wake who waits for it."""
        self._ledger.release(allocation)
        self.look()

    def look(self) -> None:
        """Grant what can be granted now."""
        if self._disk_forbids():
            return
        reservation = self._reservation
        if reservation is not None and not reservation.granted.is_set():
            self._try(reservation)
            if not reservation.granted.is_set() and self._is_due(reservation):
                return
        for waiter in list(self._waiting):
            if not waiter.granted.is_set():
                self._try(waiter)

    async def keep_looking(self) -> None:
        """Look again now and then: the disk may have been freed by somebody else."""
        while True:
            await anyio.sleep(_DISK_LOOK_SECONDS)
            self.look()

    async def reserved(self, needs: Needs) -> Allocation | None:
        """Wait with the machine's one reservation; ``None`` when it is taken, or we are closed."""
        if self._reservation is not None or self.is_closed:
            return None
        self._reservation = waiter = _Waiter(needs, self._clock())

        def forget(_: _Waiter) -> None:
            self._reservation = None

        return await self._granted(waiter, forget)

    async def _granted(
        self, waiter: _Waiter, forget: Callable[[_Waiter], None]
    ) -> Allocation | None:
        self.look()
        try:
            await waiter.granted.wait()
        except BaseException:
            if waiter.allocation is not None:
                self._ledger.release(waiter.allocation)
            raise
        finally:
            forget(waiter)
            self.look()
        return waiter.allocation

    def _try(self, waiter: _Waiter) -> None:
        waiter.allocation = self._ledger.reserve(waiter.needs)
        if waiter.allocation is not None:
            waiter.granted.set()

    def _is_due(self, waiter: _Waiter) -> bool:
        return self._clock() - waiter.since >= self._patience

    def _disk_forbids(self) -> bool:
        complaint = self._disk_is_low()
        if complaint and not self._complaint:
            _log.error("nothing is claimed", reason=complaint)
        if self._complaint and not complaint:
            _log.info("claiming again, there is disk space")
        self._complaint = complaint
        return bool(complaint)


class Slot:
    """Room that was given before the message is known; grows into what the request needs."""

    def __init__(self, intake: Intake, allocation: Allocation) -> None:
        self._intake = intake
        self._allocation: Allocation | None = allocation

    def grow(self, needs: Needs) -> Allocation | None:
        """Exchange the slot for ``needs`` in one step; ``None`` when there is not enough."""
        self._give_back_quietly()
        allocation = self._intake.ledger.reserve(needs)
        self._intake.look()
        return allocation

    def give_back(self) -> None:
        """Return what is left of the slot, if anything, and wake who waits."""
        self._give_back_quietly()
        self._intake.look()

    def _give_back_quietly(self) -> None:
        if self._allocation is not None:
            self._intake.ledger.release(self._allocation)
            self._allocation = None
