"""Keeps a message whose experiment is at work: it is what is left if that comes to grief.

Given back again and again it would be counted each time, until the broker buries it; and runners
that know no claims would run it. Keeping it takes no room of the machine.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.ownership.claim import Beating, Claims, Ended, Replaced
from runner.lifecycle.ownership.keeper import Held, Keeper
from runner.queues.base import Delivery

_log = log.get_logger(__name__)

#: Between two looks at the claim record: who gives an experiment back wants it seen soon.
_PAUSE = 5.0
_LAST = 10.0
_NOW = timedelta(0)


class Duty(enum.Enum):
    """What is to be done with a message that was kept."""

    KEEP = enum.auto()
    #: Its experiment is over, or another message stands for it.
    DELETE = enum.auto()
    #: Nobody works on it: whoever has room may.
    GIVE_BACK = enum.auto()


def duty(said: Beating | Ended | Replaced | None) -> Duty:
    """Decide by what the claim record says; a dead letter's end is not for here."""
    match said:
        case Replaced():
            return Duty.DELETE
        case Ended(buried=False):
            return Duty.DELETE
        case Beating(is_carrier=True):
            return Duty.KEEP
        case _:
            return Duty.GIVE_BACK


@dataclass(eq=False)
class Guard:
    """One message; ``watch`` ends it in one of three ways, also when it is cancelled."""

    keeper: Keeper
    delivery: Delivery
    claims: Claims
    #: What is kept; let go at the end.
    held: Sequence[Held]
    #: Each ends the watch: the message is somebody else's; the daemon claims nothing any more.
    ends: Sequence[Callable[[], Awaitable[object]]]
    key: str
    lease: timedelta

    async def watch(self) -> None:
        """Keep the message for as long as somebody works on its experiment."""
        _log.info("kept for who works on it", key=self.key, message=self.delivery.message.id)
        found = Duty.GIVE_BACK
        try:
            found = await self._found()
        finally:
            with anyio.move_on_after(_LAST, shield=True):
                await self._settle(found)

    async def _found(self) -> Duty:
        found = Duty.KEEP
        async with anyio.create_task_group() as group:

            async def end_with(event: Callable[[], Awaitable[object]]) -> None:
                await event()
                group.cancel_scope.cancel()

            for event in self.ends:
                group.start_soon(end_with, event)
            while found is Duty.KEEP:
                await anyio.sleep(min(_PAUSE, self.lease.total_seconds() / 4))
                found = await self._look()
            group.cancel_scope.cancel()
        return found

    async def _look(self) -> Duty:
        try:
            return duty(await self.keeper.run(self.claims.look))
        except RunnerError as error:  # nobody else could tell either whose it is, and run it
            _log.warning("claim not read", key=self.key, trouble=str(error))
            return Duty.KEEP

    async def _settle(self, found: Duty) -> None:
        for promise in self.held:
            await self.keeper.release(promise)
        try:
            if found is Duty.DELETE:
                await self.keeper.run(self.delivery.ack)
            else:
                await self.keeper.run(self.delivery.release, delay=_NOW)
        except RunnerError as error:  # it comes back by itself, and tells the same again
            _log.info("kept no longer", key=self.key, trouble=str(error))


class Guards:
    """All messages that a daemon keeps for others; it leaves when the last was given back."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = anyio.Event()

    def __len__(self) -> int:
        return self._count

    async def watch(self, guard: Guard) -> None:
        """See a guard through."""
        self._count += 1
        try:
            await guard.watch()
        finally:
            self._count -= 1
            self._changed.set()
            self._changed = anyio.Event()

    async def until_none(self) -> None:
        """Wait until nothing is kept any more; that is soon once the intake is closed."""
        while self._count:
            await self._changed.wait()
