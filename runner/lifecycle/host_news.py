"""Tells an operator what to look after: credentials, the disk, queues that get no room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import anyio

from runner.errors import RunnerError
from runner.lifecycle.claiming.seats import Seat
from runner.lifecycle.claiming.want import LONG
from runner.lifecycle.parts import Parts
from runner.lifecycle.sources.standing import Key, Standing, changes, complaints
from runner.lifecycle.sources.supply import Supply
from runner.lifecycle.tally import Stage
from runner.model import News, Report
from runner.queues.base import Queue
from runner.request.units import format_duration

#: Seconds between two looks.
_LOOK, _LOOK_FOR_ROOM = 5.0, 60.0
_ASKING = 5.0
_DISK = "disk"


@dataclass(eq=False)
class HostNews:
    """Looks now and then, and reports each thing when it begins and when it is over."""

    parts: Parts
    supply: Supply
    #: Those that are taken from, by address.
    queues: Callable[[], Mapping[str, Queue]]
    look_seconds: float = _LOOK
    room_seconds: float = _LOOK_FOR_ROOM
    #: Seconds without room that are worth a word.
    long: float = LONG
    _standings: Mapping[Key, Standing] = field(default_factory=dict)
    _complaints: Mapping[str, str] = field(default_factory=dict)
    _disk: str = ""
    _wanting: set[Seat] = field(default_factory=set)

    async def watch(self) -> None:
        """Look until cancelled. The credentials that are there at the start are no news."""
        await self.supply.complete()
        self._standings = _standings(self.supply)
        next_room = anyio.current_time() + self.room_seconds
        while True:
            await self._tell(self._look())
            if anyio.current_time() >= next_room:
                await self._tell(await self._look_for_room())
                next_room = anyio.current_time() + self.room_seconds
            await anyio.sleep(self.look_seconds)

    async def _tell(self, reports: Iterable[Report]) -> None:
        for report in reports:
            await self.parts.report(report)

    def _look(self) -> list[Report]:
        before, self._standings = self._standings, _standings(self.supply)
        said, self._complaints = self._complaints, dict(self.supply.unusable())
        return [
            *changes(before, self._standings),
            *complaints(said, self._complaints),
            *self._look_at_disk(),
        ]

    def _look_at_disk(self) -> Iterator[Report]:
        was, self._disk = self._disk, self.parts.intake.disk_complaint
        if self._disk and not was:
            yield Report(News.DISK_LOW, f"nothing is claimed: {self._disk}", topic=_DISK)
        if was and not self._disk:
            yield Report(News.RECOVERED, "there is disk space: claiming again", topic=_DISK)

    # ------------------------------------------------------------------ room

    async def _look_for_room(self) -> list[Report]:
        waiting = set(self.parts.intake.want.longer_than(self.long))
        reports = [self._got_room(seat) for seat in self._wanting - waiting]
        self._wanting &= waiting
        for seat in waiting - self._wanting:
            if (how_many := await self._messages(seat)) is None:
                # Nobody knows of a message there: what may be empty wants nothing.
                self.parts.intake.want.begin_anew(seat)
            else:
                self._wanting.add(seat)
                reports.append(self._gets_none(seat, how_many))
        return reports

    async def _messages(self, seat: Seat) -> str | None:
        """Say how many messages wait, if any is known to."""
        in_hand = sum(
            entry.stage is Stage.ROOM and entry.record.message.queue == seat.name
            for entry in self.parts.board
        )
        waiting = None
        for queue in self.queues().values():
            if (f"{queue.broker}:{queue.project}", queue.name) == (seat.project, seat.name):
                with suppress(RunnerError), anyio.move_on_after(_ASKING):
                    waiting = await queue.depth()
        if waiting:
            return f"{waiting + in_hand} messages"
        return "a message" if in_hand or (waiting is None and seat.was_full) else None

    def _gets_none(self, seat: Seat, how_many: str) -> Report:
        free, long = self.parts.intake.ledger.free, format_duration(timedelta(seconds=self.long))
        text = (
            f"queue {seat.name}: {how_many} waited for room for more than {long}; free are "
            f"{free.cores} cores, {free.memory / 1e9:.1f} GB of memory, {len(free.gpus)} GPUs"
        )
        return Report(News.NO_ROOM, text, queue=seat.name, topic=_room(seat))

    def _got_room(self, seat: Seat) -> Report:
        text = f"queue {seat.name}: it waits for room no more"
        return Report(News.RECOVERED, text, queue=seat.name, topic=_room(seat))


def _room(seat: Seat) -> str:
    return f"room {seat.project} {seat.name}"


def _standings(supply: Supply) -> dict[Key, Standing]:
    return {
        source.account: Standing(source.origin, source.trouble, source.is_serving)
        for source in supply
        if not source.is_retired
    }
