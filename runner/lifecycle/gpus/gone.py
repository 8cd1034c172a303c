"""Runs whose card is off the bus: nothing that they do arrives, and many wait there for ever."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from runner.lifecycle.board import Entry
from runner.lifecycle.parts import Parts
from runner.lifecycle.tally import Stage
from runner.model import Cause

#: So many looks in a row must find the card gone: most runs fail of it by themselves before that,
#: and say more about it.
LOOKS = 6


@dataclass(eq=False)
class GoneWatch:
    """Ends them; it is the card's fault, so another attempt is made and none is counted.

    Not while the driver itself does not answer: what runs goes on through its exchange.
    """

    parts: Parts
    #: Seconds between two looks.
    interval: float
    #: By run.
    _looks: dict[str, int] = field(default_factory=dict)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await anyio.sleep(self.interval)
            self.look()

    def look(self) -> None:
        """Look once, at everything that runs with cards."""
        found = [(entry, gone) for entry in self.parts.board if (gone := self._gone(entry))]
        before, self._looks = self._looks, {}
        for entry, gone in found:
            run = entry.record.run
            self._looks[run] = before.get(run, 0) + 1
            if self._looks[run] == LOOKS:
                entry.stopper.stop(Cause.GPU_FAULT, gone)

    def _gone(self, entry: Entry) -> str:
        if entry.stage is not Stage.RUN:
            return ""
        readings = self.parts.cards.inventory.readings
        cards = entry.record.allocation.gpus
        gone = (uuid for uuid in cards if uuid in readings and readings[uuid].is_gone)
        return "; ".join(f"{uuid} does not answer: {readings[uuid].lost}" for uuid in gone)
