"""The daemon's answers to the command line: status, logs, cancel, and the verbs of its life."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import anyio

from runner import __version__
from runner.errors import host_fault
from runner.lifecycle import entry_row
from runner.lifecycle.claiming.suspension import OPERATOR, Intent
from runner.lifecycle.gauges import Gauges
from runner.lifecycle.gpus import board as gpu_board
from runner.lifecycle.loop import Loop
from runner.lifecycle.parts import Parts
from runner.lifecycle.reloading import Reloads
from runner.lifecycle.runs.kept import shown
from runner.lifecycle.runs.live_output import LiveOutput
from runner.lifecycle.runs.wanted import Wanted
from runner.lifecycle.rush import Haste
from runner.lifecycle.sources.depths import Depth, Depths
from runner.lifecycle.sources.queue_rows import passed_over, rows
from runner.lifecycle.stocks import Stocks
from runner.model import Capacity, Cause
from runner.revision import revision

Item = dict[str, Any]
Answer = Callable[[Item], AsyncIterator[Item]]

_FOLLOW_PAUSE = 0.2


class Desk:
    """One handler per verb of the control socket."""

    def __init__(
        self,
        parts: Parts,
        loop: Loop,
        *,
        detach: Callable[[], None],
        reloads: Reloads,
    ) -> None:
        self._parts = parts
        self._loop = loop
        self._detach = detach
        self._reloads = reloads
        #: How much waits in the queues that are taken from.
        self.depths = Depths(lambda: loop.queues)
        self._stocks = Stocks(parts)
        self._gauges = Gauges(parts.board)
        self._started = time.time()

    @property
    def handlers(self) -> Mapping[str, Answer]:
        """The verbs."""
        return {
            "status": self.status,
            "gpus": self.gpus,
            "logs": self.logs,
            "cancel": self.cancel,
            "drain": self.drain,
            "detach": self.detach,
            "alive": self.alive,
            "reload": self.reload,
            "suspend": self.suspend,
            "resume": self.resume,
        }

    async def status(self, arguments: Item) -> AsyncIterator[Item]:
        """Give one item: ``standing``; ``age``: how old the depths of queues may be, in seconds."""
        age = timedelta(seconds=float(arguments.get("age") or 0))
        yield self._parts.redactor.redact_all(await self.standing(age))

    async def standing(self, age: timedelta = timedelta(0)) -> Item:
        """Tell of the daemon, what runs, and what ended lately.

        What waits in queues may have been asked ``age`` ago.
        """
        ledger = self._parts.intake.ledger
        await self._gauges.look()
        return {
            "daemon": {
                "pid": os.getpid(),
                "version": __version__,
                "revision": revision(),
                "host": self._parts.host,
                "started": self._started,
                "now": time.time(),
                "draining": self._loop.is_draining,
                "suspended_by": list(self._parts.intake.suspension.by),
                "fuse": self._parts.redactor.redact(self._parts.fuse.said),
                "messages": self._parts.opening.mode,
                "not_reloaded": self._parts.redactor.redact(self._reloads.refusal),
                "capacity": _capacity(ledger.total),
                "free": _capacity(ledger.free),
                **self._users(),
                **self._cards(),
                **await self._stocks.look(),
                "waits": self._parts.intake.complaint,
                "queues": self._queues(await self.depths.look(age)),
                "passed_over": passed_over(self._loop.supply, self._loop.aside),
                "sources": self._sources(),
                "hours": [asdict(hour) for hour in self._parts.history.day.at(time.time())],
            },
            "running": [entry_row.row(one, self._gauges.of(one)) for one in self._parts.board],
            "kept": self._kept(),
            "recent": [asdict(ending) for ending in self._parts.history.endings],
        }

    def _kept(self) -> list[Item]:
        kept = self._parts.kept
        return [] if kept is None else [shown(one, kept.span) for one in kept.remnants()]

    def _users(self) -> Item:
        users = self._parts.users
        return {"users": {"all": users.at_most, "free": users.free}} if users.is_pool else {}

    async def gpus(self, _: Item) -> AsyncIterator[Item]:
        """Tell of the cards and who has them, without asking any broker."""
        seen = self._parts.cards.inventory
        yield {"driver": seen.driver, "cuda": seen.cuda, **self._cards()}

    async def logs(self, arguments: Item) -> AsyncIterator[Item]:
        """Give the output of a run under way as items of text, to its end where ``follow`` is.

        Before there is any: how much of its artifacts was fetched. ``tail``: the last so many
        lines, of ``most`` bytes at most; ``since``: from that byte on. Items of text tell where the
        first of them begins: ``start``, in bytes.
        """
        key, run = str(arguments.get("key", "")), str(arguments.get("run", ""))
        entry = self._parts.board.of_run(run) if run else self._parts.board.find(key)
        if entry is None:
            return
        wanted = Wanted(
            arguments.get("tail"), int(arguments.get("since") or 0), arguments.get("most")
        )
        yield {"attempt": entry.record.attempt, "stage": entry.stage}
        with closing(LiveOutput(self._parts.redactor, wanted=wanted)) as output:
            while True:
                is_over = entry not in self._parts.board or not arguments.get("follow")
                text = await output.read_on(entry.output)
                if text:
                    yield {"text": text, "start": output.start}
                elif is_over:
                    break
                else:
                    if fetched := entry.fetched:
                        yield {"fetched": fetched[0], "of": fetched[1]}
                    await anyio.sleep(_FOLLOW_PAUSE)
            if text := output.rest():
                yield {"text": text, "start": output.start}

    async def cancel(self, arguments: Item) -> AsyncIterator[Item]:
        """Stop an attempt, by ``key`` or ``run``; its message is settled and does not come back."""
        key, run = str(arguments.get("key", "")), str(arguments.get("run", ""))
        board = self._parts.board
        entry = board.of_run(run) if run else board.find(key)
        if entry is None:
            what = f"the run {run!r}" if run else f"the key {key!r}"
            yield {"cancelled": False, "reason": f"nothing of {what} runs here"}
            return
        entry.stopper.stop(Cause.CANCELLED, "cancelled by the operator")
        yield {"cancelled": True, "reason": ""}

    async def drain(self, arguments: Item) -> AsyncIterator[Item]:
        """Receive nothing more, and stop what runs where ``now`` is; asking twice is no more.

        A person may repeat a command that seems to do nothing, and must not lose runs by it.
        ``within``: seconds, after which also what is not stored yet is left.
        """
        if within := arguments.get("within"):
            self._loop.hasten(Haste("the operator wants it soon", timedelta(seconds=float(within))))
        while not self._loop.is_draining or (arguments.get("now") and not self._loop.is_stopping):
            self._loop.drain()
        yield {"draining": True, "running": len(self._parts.board)}

    async def detach(self, _: Item) -> AsyncIterator[Item]:
        """Leave, and leave every run to the next daemon."""
        yield {"detached": True, "running": len(self._parts.board)}
        self._detach()

    async def alive(self, _: Item) -> AsyncIterator[Item]:
        """Tell which daemon this is, without asking any broker."""
        yield {
            "pid": os.getpid(),
            "started": self._started,
            "draining": self._loop.is_draining,
            "running": len(self._parts.board),
        }

    async def reload(self, arguments: Item) -> AsyncIterator[Item]:
        """Execute the daemon anew in place; this one ends soon after the answer.

        With ``check``: tell what that would change, or why it cannot be, and do nothing.
        """
        is_check = bool(arguments.get("check"))
        prospect = await (self._reloads.look() if is_check else self._reloads.reload())
        yield {
            "reloading": not prospect.reason and not is_check,
            "reason": prospect.reason,
            "changes": [dict(change) for change in prospect.changes],
            "pid": os.getpid(),
            "started": self._started,
        }

    async def suspend(self, _: Item) -> AsyncIterator[Item]:
        """Claim nothing until ``resume``, also after a restart."""
        yield self._wish(Intent.SUSPEND)

    async def resume(self, _: Item) -> AsyncIterator[Item]:
        """Claim again, unless somebody else objects; the fuse may do so until its next probe."""
        self._parts.fuse.look_now()
        yield self._wish(Intent.RUNNING)

    def _cards(self) -> Item:
        ledger, seen = self._parts.intake.ledger, self._parts.cards.inventory
        free, board = ledger.free.gpus, self._parts.board
        return {
            "gpus": gpu_board.rows(ledger.total.gpus, free, board, ledger.withheld, seen),
            "why_no_gpus": ledger.total.why_no_gpus,
        }

    def _wish(self, what: Intent) -> Item:
        suspension = self._parts.intake.suspension
        try:
            suspension.wish(OPERATOR, what)
        except OSError as error:
            raise host_fault("the wish cannot be kept for the next daemon", error) from error
        return {"suspended_by": list(suspension.by), "running": len(self._parts.board)}

    def _queues(self, depths: Iterable[Depth]) -> list[Item]:
        found = rows(depths, self._parts.intake, self._parts.board, self._loop.supply)
        return [{**one, "why": self._parts.redactor.redact(one["why"])} for one in found]

    def _sources(self) -> list[Item]:
        """Tell where experiments come from, and what keeps a source from working."""
        return [
            {
                "origin": source.origin,
                "broker": source.account[0],
                "project": source.account[1],
                "state": source.state,
                "trouble": self._parts.redactor.redact(source.trouble),
            }
            for source in self._loop.supply
        ]


def _capacity(capacity: Capacity) -> Item:
    return {
        "cores": capacity.cores,
        "memory": capacity.memory,
        "disk": capacity.disk,
        "gpus": [gpu.uuid for gpu in capacity.gpus],
    }
