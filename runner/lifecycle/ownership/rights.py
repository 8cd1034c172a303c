"""An attempt's right to run and to publish, as a record in a store or as good as it gets."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from runner.errors import LeaseLost
from runner.lifecycle.ownership.record import ClaimRecord, State, decode, recorded
from runner.model import Cause, Location, Outcome
from runner.stores.base import Conflict, NotFound, Store

#: Lost races before we say that the record cannot be written.
_TRIES = 8
_MAX_BODY = 1 << 20


class Moment(NamedTuple):
    """A moment of the past, by every clock that may have gone on while this machine did not.

    A laptop that sleeps stops the monotonic clock, and a virtual machine that is paused all but the
    one that somebody sets right again. Who doubts too much only asks once more.
    """

    uptime: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        """Return this one."""
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def passed(self) -> float:
        """Return the seconds since then, by the clock that has gone furthest."""
        now = Moment.now()
        return max(now.uptime - self.uptime, now.wall - self.wall)


class Claim(ABC):
    """An attempt's right to run and to publish. Usable from any event loop."""

    #: Number of this attempt, from 1.
    attempt: int
    #: Earlier attempts that count towards ``--max-attempts``.
    counted: int
    #: Why the attempt before this one ended.
    previous_cause: str | None

    @abstractmethod
    async def beat(self) -> None:
        """Show that we live, often enough within the lease. Raises LeaseLost, StoreUnavailable."""

    @abstractmethod
    async def finish(self, outcome: Outcome, *, buried: bool = False) -> None:
        """Record the end, after everything is stored. Raises LeaseLost, StoreUnavailable."""

    @abstractmethod
    async def note_burial(self) -> None:
        """Record that what was finished as buried lies there. Raises LeaseLost, StoreUnavailable.

        Until then whoever gets the message buries it, instead of running it again.
        """

    @abstractmethod
    async def release(self, cause: Cause, *, counted: bool) -> None:
        """Let the next attempt start at once. Raises LeaseLost, StoreUnavailable."""

    async def hand_to(self, message: str) -> None:
        """Record the id of the message that carries the claim from now on.

        Raises LeaseLost where no record tells it, StoreUnavailable.
        """
        raise LeaseLost(f"no record tells that message {message} carries the claim")

    @abstractmethod
    async def still_ours(self) -> bool:
        """Ask the store. Raises StoreUnavailable."""

    @property
    def is_fresh(self) -> bool:
        """The store said less than a lease ago that it is ours, so nobody took it over."""
        return True

    async def confirm(self) -> None:
        """Make sure, before something is stored, unless fresh. Raises LeaseLost, Unavailable."""
        if not self.is_fresh:
            await self.beat()


class Unclaimed(Claim):
    """Stands in where no record can be written: never conflicts, counts what the broker counts."""

    def __init__(self, receive_count: int) -> None:
        self.attempt = receive_count
        self.counted = receive_count - 1
        self.previous_cause = None

    async def beat(self) -> None:
        """Do nothing: nobody could read it."""

    async def finish(self, outcome: Outcome, *, buried: bool = False) -> None:
        """Do nothing: the broker's settling is all there is."""

    async def note_burial(self) -> None:
        """Do nothing: nobody could read it."""

    async def release(self, cause: Cause, *, counted: bool) -> None:
        """Do nothing: the broker's settling is all there is."""

    async def still_ours(self) -> bool:
        """Nobody says otherwise."""
        return True


class RecordedClaim(Claim):
    """A claim with its record in a store; every change is a conditional write."""

    def __init__(self, store: Store, location: Location, record: ClaimRecord, version: str) -> None:
        self.location = location
        self.attempt = record.attempt
        self.counted = record.counted
        self.previous_cause = record.previous_cause
        self._store = store
        self._run = record.owner.run
        self._record = record
        self._version: str | None = version
        self._confirmed = Moment.now()
        #: The end is being written: a quick beat must not get in its way again and again.
        self._is_ending = False

    @property
    def is_fresh(self) -> bool:
        """See ``Claim``."""
        return self._confirmed.passed() < self._record.lease.total_seconds()

    async def beat(self) -> None:
        """See ``Claim``; does nothing once the claim was finished or released by us."""
        if not self._is_ending:
            await self._change(lambda record: replace(record, beat=record.beat + 1), durable=False)

    async def finish(self, outcome: Outcome, *, buried: bool = False) -> None:
        """See ``Claim``."""
        self._is_ending = True
        await self._change(
            lambda record: replace(
                record,
                state=State.ENDED,
                outcome=recorded(outcome),
                buried=buried,
                burying=buried,
            )
        )

    async def note_burial(self) -> None:
        """See ``Claim``."""
        await self._change(lambda record: replace(record, burying=False), when=State.ENDED)

    async def release(self, cause: Cause, *, counted: bool) -> None:
        """See ``Claim``."""
        self._is_ending = True
        await self._change(
            lambda record: replace(
                record,
                state=State.RELEASED,
                counted=record.counted + counted,
                previous_cause=cause.value,
            )
        )

    async def hand_to(self, message: str) -> None:
        """See ``Claim``."""
        await self._change(lambda record: record.handed_to(message))
        if self._record.message != message:
            raise LeaseLost(f"the claim {self.location} is over")

    async def still_ours(self) -> bool:
        """See ``Claim``; a record that somebody deleted is nobody else's."""
        try:
            await self._look()
        except LeaseLost:
            return False
        return True

    async def _change(
        self,
        change: Callable[[ClaimRecord], ClaimRecord],
        *,
        when: State = State.RUNNING,
        durable: bool = True,
    ) -> None:
        """Write until it is our own write that stands.

        A conflict may be an answer of ours that was lost on its way, or the keeper's beat beside
        the main loop's finish; only another owner in the record means that the claim is lost.
        """
        for _ in range(_TRIES):
            if self._record.state is not when:
                return
            wanted = replace(change(self._record), updated_at=time.time())
            asked = Moment.now()
            try:
                info = await self._store.put_if(
                    self.location, wanted.encode(), self._version, durable=durable
                )
            except Conflict:
                await self._look()
            else:
                self._record, self._version, self._confirmed = wanted, info.version, asked
                return
        raise LeaseLost(f"the claim {self.location} changes faster than it can be written")

    async def _look(self) -> None:
        found = await read_versioned(self._store, self.location)
        if found is None:
            self._version = None
            return
        record, version = found
        if record is None:
            raise LeaseLost(f"the claim {self.location} was overwritten with something else")
        if record.owner.run != self._run:
            raise LeaseLost(f"{record.owner.host} has taken over the experiment")
        self._record, self._version = record, version


async def read_claim(store: Store, location: Location) -> ClaimRecord | None:
    """Return the record for showing; ``None`` when there is none or it cannot be read.

    Raises AccessDenied, StoreUnavailable.
    """
    found = await read_versioned(store, location)
    return None if found is None else found[0]


async def read_versioned(store: Store, location: Location) -> tuple[ClaimRecord | None, str] | None:
    """Return record and version, the version never newer than the record."""
    try:
        version = (await store.stat(location)).version
        body = await store.read(location, lambda stream: stream.read(_MAX_BODY))
    except NotFound:
        return None
    return decode(body), version
