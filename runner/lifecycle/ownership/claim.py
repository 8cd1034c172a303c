"""The claim decides who owns an experiment; the broker only suggests (design 5.5)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from runner.errors import LeaseLost
from runner.lifecycle.ownership.record import (
    ClaimRecord,
    Owner,
    RecordedOutcome,
    State,
    Verdict,
    claim_artifact,
    claim_location,
    judge,
    successor,
)
from runner.lifecycle.ownership.rights import (
    Claim,
    RecordedClaim,
    Unclaimed,
    read_claim,
    read_versioned,
)
from runner.model import Cause, Location, Request
from runner.stores.base import AccessDenied, Conflict, Store

__all__ = [
    "Beating",
    "Claim",
    "Claims",
    "Ended",
    "Observations",
    "Owner",
    "Replaced",
    "Unclaimed",
    "claim_artifact",
    "claim_location",
    "read_claim",
]

#: Lost races before we say that somebody else is at it.
_TRIES = 8
_MARGIN = timedelta(seconds=1)


class Observations:
    """Remembers since when each foreign beat has not changed, on this machine's monotonic clock.

    Shared by all attempts of a daemon: the wait for a silent owner goes on from one delivery of the
    message to the next. No other machine's clock is ever looked at.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most: int = 10_000) -> None:
        self._clock = clock
        self._most = most
        self._seen: OrderedDict[Location, tuple[tuple[str, int, int], float]] = OrderedDict()

    def unchanged_for(self, location: Location, record: ClaimRecord) -> timedelta:
        """Note the record's beat; return how long we have known this very one."""
        mark = (record.owner.run, record.attempt, record.beat)
        known = self._seen.get(location)
        if known is None or known[0] != mark:
            known = (mark, self._clock())
        self._seen[location] = known
        self._seen.move_to_end(location)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return timedelta(seconds=self._clock() - known[1])

    def forget(self, location: Location) -> None:
        """The experiment is ours, or over."""
        self._seen.pop(location, None)


@dataclass(frozen=True, slots=True)
class Beating:
    """Somebody else works on the experiment: hide the message for ``wait``, then ask again."""

    wait: timedelta
    #: ``None`` when it changed hands while we looked.
    owner: Owner | None = None
    #: The message stands for the experiment that is at work: whoever has it keeps it, since it is
    #: what is left when that comes to grief.
    is_carrier: bool = False


@dataclass(frozen=True, slots=True)
class Replaced:
    """A later message stands for the experiment: this one may be deleted."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The experiment has ended: the message may be deleted.

    Unless ``buried``: then somebody took it out of the dead letters on purpose; ``Claims.reopen``.
    Or it never came there: then it is to be buried, and ``unburied`` is the claim to note it in.
    """

    attempt: int
    outcome: RecordedOutcome
    buried: bool
    unburied: Claim | None = None


class Claims:
    """Asks for the claim of one experiment on behalf of one attempt."""

    def __init__(
        self,
        store: Store | None,
        request: Request,
        owner: Owner,
        lease: timedelta,
        observations: Observations,
        *,
        receive_count: int = 1,
        message: str = "",
        mark: str = "",
    ) -> None:
        """Take the store of ``claim_artifact(request)``, or ``None`` where there is no such."""
        self._location = claim_location(request)
        self._store = store
        self._owner = owner
        self._lease = lease
        self._observations = observations
        self._receive_count = receive_count
        self._message = message
        self._mark = mark
        self._submitted = request.experiment.time_added
        self._key = request.experiment.key
        self._reopens = False

    async def take(self) -> Claim | Beating | Ended | Replaced:
        """Claim the experiment, or say why not. Raises StoreUnavailable."""
        if self._store is None or self._location is None:
            return Unclaimed(self._receive_count)
        for _ in range(_TRIES):
            try:
                return await self._try_to_take(self._store, self._location)
            except Conflict:
                continue
        return Beating(self._lease)

    async def look(self) -> Beating | Ended | Replaced | None:
        """Tell why ``take`` would not claim the experiment now, and claim nothing.

        Raises StoreUnavailable.
        """
        found = await self._found()
        return None if found is None else self._obstacle(*found)

    async def adopt(self) -> Claim | Ended:
        """Return the claim that the same run took before the daemon was restarted.

        Raises LeaseLost when it is another's by now, or was given back; StoreUnavailable.
        """
        if self._store is None or self._location is None:
            return Unclaimed(self._receive_count)
        try:
            found = await read_versioned(self._store, self._location)
            if found is None:
                return await self._write(self._store, self._location, self._fresh(), None)
        except AccessDenied:
            return Unclaimed(self._receive_count)
        except Conflict as error:
            raise LeaseLost("another runner has taken over the experiment") from error
        record, version = found
        if record is None or record.owner.run != self._owner.run or record.state is State.RELEASED:
            raise LeaseLost("the experiment was given back or taken over meanwhile")
        claim = RecordedClaim(self._store, self._location, record, version)
        return _ended(record, claim) if record.state is State.ENDED else claim

    async def left(self) -> Claim | Ended | None:
        """Return the claim that this very attempt holds, or ended; take none if it has none.

        Raises StoreUnavailable.
        """
        found = await self._found()
        if found is None or found[2].owner.run != self._owner.run:
            return None
        record, claim = found[2], RecordedClaim(*found)
        if record.state is State.ENDED:
            return _ended(record, claim)
        return claim if record.state is State.RUNNING else None

    async def reopen(self) -> Claim | Beating | Ended | Replaced:
        """Claim an experiment whose message was taken out of the dead letters; nothing counts."""
        self._reopens = True
        return await self.take()

    async def _found(self) -> tuple[Store, Location, ClaimRecord, str] | None:
        """Read the record, where there is one to be read. Raises StoreUnavailable."""
        if self._store is None or self._location is None:
            return None
        try:
            found = await read_versioned(self._store, self._location)
        except AccessDenied:
            return None
        record, version = found or (None, "")
        return None if record is None else (self._store, self._location, record, version)

    async def _try_to_take(
        self, store: Store, location: Location
    ) -> Claim | Beating | Ended | Replaced:
        try:
            found = await read_versioned(store, location)
        except AccessDenied:
            return await self._take_blindly(store, location)
        try:
            if found is None:
                return await self._write(store, location, self._fresh(), None)
            return await self._follow(store, location, *found)
        except AccessDenied:
            return Unclaimed(self._receive_count)

    async def _take_blindly(self, store: Store, location: Location) -> Claim:
        """Some stores deny a missing object to whoever may not list; creating may still work."""
        try:
            return await self._write(store, location, self._fresh(), None)
        except (AccessDenied, Conflict):
            return Unclaimed(self._receive_count)

    async def _follow(
        self, store: Store, location: Location, record: ClaimRecord | None, version: str
    ) -> Claim | Beating | Ended | Replaced:
        if record is None:  # not a record: whoever wrote it, it protects nothing
            return await self._write(store, location, self._fresh(), version)
        verdict = judge(record, self._owner.run, self._submitted)
        if verdict is Verdict.OURS:
            return RecordedClaim(store, location, record, version)
        obstacle = self._obstacle(store, location, record, version)
        if obstacle is not None:
            return obstacle
        new = self._fresh() if verdict is Verdict.ANEW else self._next(record)
        return await self._write(store, location, new, version)

    def _obstacle(
        self, store: Store, location: Location, record: ClaimRecord, version: str
    ) -> Beating | Ended | Replaced | None:
        if self._message in record.replaced:
            return Replaced()
        verdict = judge(record, self._owner.run, self._submitted)
        if verdict is Verdict.ENDED and not (record.buried and self._reopens):
            self._observations.forget(location)
            return _ended(record, RecordedClaim(store, location, record, version))
        if verdict is Verdict.BEATING:
            silent = self._observations.unchanged_for(location, record)
            wait = record.alive_for(self._lease) - silent
            if wait > timedelta(0):
                is_carrier = bool(self._mark) or self._message == record.message != ""
                return Beating(wait + _MARGIN, record.owner, is_carrier)
        return None

    def _fresh(self) -> ClaimRecord:
        now = time.time()
        return ClaimRecord(
            key=self._key,
            owner=self._owner,
            lease=self._lease,
            submitted=self._submitted,
            message=self._message,
            begun_at=now,
            updated_at=now,
        )

    def _next(self, record: ClaimRecord) -> ClaimRecord:
        following = successor(record, self._fresh())
        return replace(following, counted=0) if record.state is State.ENDED else following

    async def _write(
        self, store: Store, location: Location, record: ClaimRecord, version: str | None
    ) -> Claim:
        # Lost in a power cut, it protected a run that was lost as well.
        info = await store.put_if(location, record.encode(), version, durable=False)
        self._observations.forget(location)
        return RecordedClaim(store, location, record, info.version)


def _ended(record: ClaimRecord, claim: Claim) -> Ended:
    unknown = RecordedOutcome(Cause.INTERNAL.value, None, "the claim record holds no outcome")
    return Ended(
        record.attempt,
        record.outcome or unknown,
        record.buried,
        unburied=claim if record.buried and record.burying else None,
    )
