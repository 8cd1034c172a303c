"""Makes an attempt ready to start: fetched and built first, its cards taken last, given back first.

A card never waits for a download, nor for an upload.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio

from runner.lifecycle.board import Entry
from runner.lifecycle.claiming.line import Place
from runner.lifecycle.parts import Parts
from runner.lifecycle.preparation import Preparation
from runner.lifecycle.runs.processes import Left
from runner.lifecycle.runs.remains import keep_back
from runner.lifecycle.runs.run import RunSpec
from runner.lifecycle.tally import Stage


@dataclass(frozen=True)
class Equipping:
    """What one attempt has of the machine, from the claim to its end."""

    parts: Parts
    entry: Entry
    preparation: Preparation

    async def ready(self, stack: AsyncExitStack) -> RunSpec:
        """Prepare, and wait for the cards.

        The record on disk names them before anything runs on them. Raises NoCards when they stay
        busy or the daemon ends, and what ``Preparation`` raises.
        """
        line = self.parts.intake.line
        place = line.place(self.entry.record.allocation)
        if place is None:
            return self.preparation.spec(await self.preparation.prepare(stack))
        try:
            with place.recallable():
                prepared = await self.preparation.prepare(stack)
                await self._wait(place)
        finally:
            line.leave(place)
            self.entry.record = self.entry.record.but(allocation=place.allocation)
        if not place.allocation.gpus:
            raise place.gone
        self.parts.records.write(self.entry.record)
        return self.preparation.spec(prepared)

    def give_back(self, left: Sequence[Left] = ()) -> None:
        """Let others have the cards: nothing runs on them any more, or nothing will.

        But for ``left``: as long as one of these is there, the whole share is kept back.
        """
        if left:
            keep_back(self.parts, self.entry, left)
            return
        line, record = self.parts.intake.line, self.entry.record
        bare = line.unequip(record.allocation)
        if bare is not record.allocation:
            self.entry.note(self.parts.records, allocation=bare)
            line.changed()

    async def _wait(self, place: Place) -> None:
        line = self.parts.intake.line
        place.at_most = min(self.preparation.limits().values()).total_seconds()
        line.be_ready(place)
        while not place.equipped.is_set():
            if self.entry.stage is not Stage.GPU:
                self.entry.begin(Stage.GPU)
            left = self.preparation.limits().values()
            with anyio.move_on_after(min(left).total_seconds()):
                await line.wait(place)
            self.preparation.check_limits()
        if self.entry.stage is Stage.GPU:
            self.entry.begin(Stage.START)
