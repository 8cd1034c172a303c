"""Keeps back the share of a run of which not even SIGKILL has ended every process, until it has.

Such a process hangs in the kernel, in a dead NFS mount or a driver, and may hold memory and cards
as long as it does. Its run's results come home all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from runner import log, own_files
from runner.errors import HostFault
from runner.lifecycle.board import Entry
from runner.lifecycle.runs import processes
from runner.lifecycle.runs.processes import Left
from runner.lifecycle.runs.record import Record, Records
from runner.model import Message, News, Report

if TYPE_CHECKING:  # which holds what is kept back
    from runner.lifecycle.parts import Parts

_log = log.get_logger(__name__)

#: Seconds between two tries to end them: few at first.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
#: Of one try.
_PATIENCE = timedelta(seconds=0.2)
#: Beside the record: who was left, and where that means anything.
_FILE = "left"
#: Processes that are named in a sentence.
_NAMED = 5


@dataclass(eq=False)
class Remains:
    """The shares that are kept back, by run; also on disk, for the next daemon of this boot."""

    #: Where the next daemon finds them; ``None``: it does not.
    records: Records | None = None
    _kept: dict[str, Record] = field(default_factory=dict)

    def __contains__(self, run: str) -> bool:
        return run in self._kept

    def keep(self, entry: Entry, left: Sequence[Left]) -> Clearing:
        """Take over the share of a run; nobody else gives it back from now on."""
        record = _bare(entry.record)
        self._kept[record.run] = record
        if self.records is not None:
            try:
                self.records.write(record)
                _note(self.records.place(record.run), left)
            except (HostFault, OSError) as error:
                _log.error("the next daemon will not know of this", trouble=str(error))
        return Clearing(self, record, list(left))

    async def recover(self) -> list[Clearing]:
        """Return what an earlier daemon kept back and may still be there."""
        if self.records is None:
            return []
        found = []
        for record in self.records.read_all():
            self._kept[record.run] = record
            found.append(Clearing(self, record, _noted(self.records.place(record.run))))
        await self.records.clear()
        return found

    async def forget(self, run: str) -> None:
        """Nothing of the run is left."""
        self._kept.pop(run, None)
        if self.records is not None:
            await self.records.remove(run)


@dataclass(eq=False)
class Clearing:
    """One share that is kept back, and the processes for which it is."""

    remains: Remains
    record: Record
    left: list[Left]
    pause: float = _PAUSE

    async def finish(self, parts: Parts) -> None:
        """Say so, go on killing, and give the share back when nothing of the run is left."""
        if await self._are_left():
            await parts.report(self._report(News.WARNING, self._sentence()))
            while await self._are_left():
                await anyio.sleep(self.pause)
                self.pause = min(2 * self.pause, _LONGEST_PAUSE)
            said = f"nothing of {self.record.key} is left any more: its share is free again"
            await parts.report(self._report(News.RECOVERED, said))
        parts.intake.release(self.record.allocation)
        await self.remains.forget(self.record.run)

    def _report(self, news: News, text: str) -> Report:
        record = self.record
        topic = f"remains {record.run}"
        return Report(news, text, queue=record.message.queue, key=record.key, topic=topic)

    async def _are_left(self) -> bool:
        self.left = await processes.end(self.record.run, known=self.left, patience=_PATIENCE)
        return bool(self.left)

    def _sentence(self) -> str:
        pids = [str(one.pid) for one in self.left]
        named = ", ".join(pids[:_NAMED]) + (" …" if len(pids) > _NAMED else "")
        share = self.record.allocation
        cards = f" and the GPUs {', '.join(share.gpus)}" if share.gpus else ""
        return (
            f"processes of {self.record.key} survive SIGKILL (pid {named}): they hang in the "
            "kernel, mostly for a file system or a driver that does not answer. Its "
            f"{share.cores} cores, {share.memory / 1e9:.1f} GB of memory{cards} are kept back "
            "until they are gone; /proc/PID/stack says what they wait for, and a restart of the "
            "machine ends them"
        )


def keep_back(parts: Parts, entry: Entry, left: Sequence[Left]) -> None:
    """Have the share of an ended run kept until nothing of it is left."""
    if entry.record.run in parts.remains:
        return
    clearing = parts.remains.keep(entry, left)
    parts.background(lambda: clearing.finish(parts))


async def recover(parts: Parts) -> None:
    """Go on with what an earlier daemon of this boot kept back."""
    for clearing in await parts.remains.recover():
        record = clearing.record
        queue = record.message.queue
        parts.intake.adopt(
            record.allocation, broker=record.broker, project=record.project, queue=queue
        )
        parts.background(lambda clearing=clearing: clearing.finish(parts))  # type: ignore[misc] # of this round


def _bare(record: Record) -> Record:
    """Return the record without the message's content, which is nobody's business any more."""
    message = record.message
    return record.but(message=Message(message.id, b"", message.queue, message.receive_count))


def _note(place: Path, left: Sequence[Left]) -> None:
    (place / _FILE).write_text(f"{processes.system()}\n{processes.shown(left)}\n")


def _noted(place: Path) -> list[Left]:
    """Return who was left; nobody after a restart of the machine, which ends the hardest."""
    try:
        here, shown = own_files.read(place / _FILE).decode().splitlines()
        return processes.read(shown) if here == processes.system() else []
    except (OSError, ValueError):  # cut short by a full disk, say: the run is found by its mark
        return []
