"""Looks at the cards now and then, withholds what is not to be given out, and tells of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from runner import log
from runner.lifecycle.gpus.cards import Cards
from runner.lifecycle.gpus.health import Kind
from runner.lifecycle.gpus.telling import Telling
from runner.model import Report
from runner.resources.base import GpuInventory, GpuProbe

_log = log.get_logger(__name__)

#: Seconds between looks while a run's memory is waited for: a card that stands idle is felt.
_SOON, _LATER, _GROWTH = 0.05, 1.0, 1.5


class Books(Protocol):
    """What this needs of ``resources.ledger.Ledger``."""

    @property
    def held_gpus(self) -> frozenset[str]:
        """Cards of which somebody holds a part."""

    @property
    def listeners(self) -> list[Callable[[tuple[str, ...]], None]]:
        """Told of the cards of each share that has come back."""

    def withhold(self, cards: Mapping[str, str]) -> None:
        """Give out none of these, and all others."""


@dataclass(eq=False)
class GpuWatch:
    """The only one in the daemon who looks at the cards."""

    probe: GpuProbe
    cards: Cards
    ledger: Books
    report: Callable[[Report], Awaitable[None]]
    #: Seconds between two looks when nothing happens.
    interval: float
    clock: Callable[[], float] = time.monotonic
    #: Called when cards are given out again.
    listeners: list[Callable[[], None]] = field(default_factory=list)
    _telling: Telling = field(default_factory=Telling)
    _pause: float = _SOON

    def __post_init__(self) -> None:
        self.ledger.listeners.append(self._came_back)

    def begin(self, inventory: GpuInventory) -> None:
        """Judge by what was seen at the start, so that no broken card is ever given out."""
        self.cards.see(inventory, self.ledger.held_gpus, self.clock())
        self._withhold()

    async def watch(self) -> None:
        """Look until cancelled; at once after cards came back."""
        while self.cards.gpus:
            await self._look()
            with anyio.move_on_after(self._until_next()):
                await self.cards.asked.wait()
                self._pause = _SOON

    async def _look(self) -> None:
        with self.cards.look() as began:
            inventory = await self.probe.look()
            before = self.cards.withheld
            self.cards.see(inventory, self.ledger.held_gpus, began)
            self._withhold()
        if before.keys() - self.cards.withheld.keys():
            for listener in self.listeners:
                listener()
        now = self.clock()
        for news in self._telling.news(self.cards.gpus, self.cards.withheld, now):
            await self.report(news)

    def _until_next(self) -> float:
        kinds = {why.kind for why in self.cards.withheld.values()}
        if Kind.RETURNING not in kinds:
            return self.interval
        pause, self._pause = self._pause, min(self._pause * _GROWTH, _LATER)
        return min(pause, self.interval)

    def _came_back(self, uuids: tuple[str, ...]) -> None:
        self.cards.come_back(uuids, self.ledger.held_gpus)
        self._withhold()

    def _withhold(self) -> None:
        self.ledger.withhold({uuid: one.why for uuid, one in self.cards.withheld.items()})
