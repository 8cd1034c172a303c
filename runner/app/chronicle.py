"""How the daemon stands, in the few words that its fleet's store is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runner import __version__
from runner.fleet.beat import MOST, Beat, Standing, shortened
from runner.lifecycle.board import Entry
from runner.lifecycle.loop import Loop
from runner.revision import revision


@dataclass(eq=False)
class Chronicle:
    """Says it from what the daemon knows, without asking anybody."""

    loop: Loop
    #: Seconds between two beats.
    interval: float
    clock: Callable[[], float] = time.time
    _state: str = ""
    _since: float = 0.0
    _started: float = field(default_factory=time.time)

    def now(self) -> Beat:
        """Tell of a daemon that serves."""
        return self._beat(self._standing(), tuple(dict.fromkeys(self._troubles())))

    def farewell(self) -> Beat:
        """Tell of one that ends, or leaves its runs to the next one."""
        is_left = len(self.loop.parts.board) > 0
        return self._beat(Standing.LEFT if is_left else Standing.ENDED, ())

    def _standing(self) -> Standing:
        if self.loop.is_stopping:
            return Standing.STOPPING
        if self.loop.is_draining:
            return Standing.DRAINING
        return Standing.SUSPENDED if self.loop.parts.intake.suspension.said else Standing.TAKING

    def _troubles(self) -> Iterator[str]:
        parts = self.loop.parts
        said = (parts.pulse.trouble(), parts.fuse.said, parts.intake.complaint)
        yield from (one for one in said if one)
        for source in self.loop.supply:
            if source.trouble:
                yield f"{source.origin}: {source.trouble}"
        for card, why in parts.intake.ledger.withheld.items():
            yield f"{card}: {why}"

    def _beat(self, state: Standing, trouble: Sequence[str]) -> Beat:
        now, parts = self.clock(), self.loop.parts
        if state != self._state:
            self._state, self._since = state, now
        entries = sorted(parts.board, key=lambda one: one.record.claimed_at)
        document = {
            "host": parts.host,
            "owner": parts.owner,
            "state": state,
            "since": self._since,
            "started": self._started,
            "written": now,
            "interval": self.interval,
            "runner": __version__,
            "commit": revision(),
            "pid": os.getpid(),
            "running": [_underway(one) for one in entries[:MOST]],
            "experiments": len(entries),
            "gpus_used": len({card for one in entries for card in one.record.allocation.gpus}),
            "gpus_total": len(parts.intake.ledger.total.gpus),
            "queues": sorted({one.name for one in self.loop.queues.values()})[:MOST],
            "trouble": trouble[:MOST],
        }
        return msgspec.convert(_short(parts.redactor.redact_all(document)), Beat)


def _underway(entry: Entry) -> dict[str, Any]:
    record = entry.record
    return {
        "key": record.key,
        "queue": record.message.queue,
        "phase": entry.phase,
        "since": record.claimed_at,
        "gpus": len(record.allocation.gpus),
    }


def _short(value: Any) -> Any:
    """Shorten every text, after it was redacted: half a secret would not be known for one."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list) else value
