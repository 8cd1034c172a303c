"""What an earlier daemon had in hand: a run that goes on, or a message that it made ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from runner.errors import LeaseLost, StoreUnavailable
from runner.lifecycle import making
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling, as_outcome
from runner.lifecycle.ownership.claim import Claim, Claims, Ended, Unclaimed
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.record import Phase
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Bury, Cause, Failed, Outcome, Stopped
from runner.queues.base import Delivery

_ADOPT_PAUSE = 1.0


class Resumption(Handling):
    """One delivery that an earlier daemon received; settled when ``resume`` returns."""

    def __init__(
        self,
        parts: Parts,
        delivery: Delivery,
        entry: Entry,
        *,
        message_is_lost: Callable[[], Awaitable[bool]],
        replaced: Callable[[], None],
    ) -> None:
        """``message_is_lost`` tells whether somebody else may have its message.

        ``replaced`` is told that another delivery of it is held instead.
        """
        super().__init__(parts, delivery, entry)
        self._is_lost = message_is_lost
        self._tell_replaced = replaced
        self._message_is_lost = False

    async def resume(self) -> Outcome:
        """Go on with a run that outlived the daemon before us; its room is restored already.

        What that daemon was only making ready is given back: no part of it may go on.
        """
        self.parts.board.enter(self.entry)
        has_run = self.entry.record.phase is not Phase.PREPARING
        self._has_room = True
        ours = self.delivery
        is_lost = await self._is_lost()
        if self.delivery is ours:
            self._message_is_lost = is_lost
            await self._holding.keep_message()
        outcome = await as_outcome(self._resumed if has_run else self._given_back)
        return await self._settle(outcome)

    async def _attach(self, delivery: Delivery) -> bool:
        if not await super()._attach(delivery):
            return False
        self._message_is_lost = False
        self._tell_replaced()
        return True

    # ------------------------------------------------------------------ a run

    async def _resumed(self) -> Outcome:
        try:
            request = await self._understood()
            claims = await making.claims_for(self.parts, request, self.entry)
            taken = await self._adopted(claims)
            if isinstance(taken, Ended):
                return self._taking.ended_before(taken)
            self._check(taken)
            await self._holding.keep_claim(taken)
            attempt = await making.attempt_again(self.parts, request, self.entry, taken)
        except Exception:
            await self._end()
            raise
        return await attempt.resume()

    def _check(self, claim: Claim) -> None:
        if isinstance(claim, Unclaimed) and self._message_is_lost:
            raise LeaseLost("its message came back to the queue, and nothing says it is ours")

    async def _adopted(self, claims: Claims) -> Claim | Ended:
        """Ask a store that does not answer again and again: the run goes on meanwhile."""
        give_up = anyio.current_time() + self.parts.options.upload_patience.total_seconds()
        while True:
            try:
                return await self.parts.keeper.run(claims.adopt)
            except StoreUnavailable as error:
                is_late = anyio.current_time() > give_up
                if is_late or not await self.entry.stopper.pause(_ADOPT_PAUSE):
                    raise LeaseLost(f"nothing says that it is still ours: {error}") from error

    # ------------------------------------------------------------------ what was made ready

    async def _given_back(self) -> Outcome:
        await self._end()  # it may have been about to begin
        await self._leave()
        self._find_output()
        deaths = self.entry.record.deaths
        if deaths > self.parts.options.retry.max_attempts:  # who reads it dies of it
            said = f"{deaths} daemons died while it was made ready"
            self._taking.decided = Bury(said)
            return Failed(Cause.HOST_FAULT, None, said)
        request = await self._understood()
        ended = await self._taking.find(request)
        if ended is not None:
            return self._taking.ended_before(ended)
        if not deaths:
            return Stopped(Cause.DRAINED, None, "the daemon left while it was made ready")
        if self._holding.claim is None:
            # It counts, and whoever waits for its end reads the record: it has to be written there.
            barrier = await self._taking.take(request)
            if barrier is not None:
                return barrier
        return self._died(self._claim())

    def _died(self, claim: Claim) -> Outcome:
        said = "the daemon died while it was made ready"
        received, fuse = self.delivery.message.receive_count, self.parts.options.retry.fuse
        if isinstance(claim, Unclaimed) and received < fuse:
            return Stopped(Cause.DRAINED, None, said)  # nobody counts deaths
        # Once the restart of a machine, or of its container, is waiting enough.
        is_restarted = self.entry.record.system not in {"", processes.system()}
        return Failed(Cause.HOST_FAULT, None, said, at_once=is_restarted and not claim.counted)

    def _find_output(self) -> None:
        """What attempts before this one printed may have been fetched already."""
        root = self.entry.record.workspace
        if root is not None:
            self.entry.output = Workspace.at(root, self.parts.users.shared).log
