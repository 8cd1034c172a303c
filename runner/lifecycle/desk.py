"""The daemon's answers to the command line: status, logs, cancel, and the verbs of its life."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import anyio

from runner import __version__
from runner.errors import host_fault
from runner.lifecycle.board import Entry
from runner.lifecycle.claiming.suspension import OPERATOR, Intent
from runner.lifecycle.gpus import board as gpu_board
from runner.lifecycle.loop import Loop
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.live_output import LiveOutput
from runner.lifecycle.rush import Haste
from runner.lifecycle.sources.depths import Depths
from runner.model import Capacity, Cause

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
        reload: Callable[[], Awaitable[str]],
    ) -> None:
        """``reload`` begins it, or returns why not."""
        self._parts = parts
        self._loop = loop
        self._detach = detach
        self._reload = reload
        #: How much waits in the queues that are taken from.
        self.depths = Depths(lambda: loop.queues)
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

    async def status(self, _: Item) -> AsyncIterator[Item]:
        """Give one item: ``standing``."""
        yield self._parts.redactor.redact_all(await self.standing())

    async def standing(self, age: timedelta = timedelta(0)) -> Item:
        """Tell of the daemon, what runs, and what ended lately.

        What waits in queues may have been asked ``age`` ago.
        """
        ledger = self._parts.intake.ledger
        return {
            "daemon": {
                "pid": os.getpid(),
                "version": __version__,
                "host": self._parts.host,
                "started": self._started,
                "draining": self._loop.is_draining,
                "suspended_by": list(self._parts.intake.suspension.by),
                "fuse": self._parts.redactor.redact(self._parts.fuse.said),
                "messages": self._parts.opening.mode,
                "capacity": _capacity(ledger.total),
                "free": _capacity(ledger.free),
                **self._users(),
                **self._cards(),
                "queues": [asdict(depth) for depth in await self.depths.look(age)],
                "sources": self._sources(),
            },
            "running": [_entry(entry) for entry in self._parts.board],
            "recent": [asdict(ending) for ending in self._parts.history.endings],
        }

    def _users(self) -> Item:
        users = self._parts.users
        return {"users": {"all": users.at_most, "free": users.free}} if users.is_pool else {}

    async def gpus(self, _: Item) -> AsyncIterator[Item]:
        """Tell of the cards and who has them, without asking any broker."""
        seen = self._parts.cards.inventory
        yield {"driver": seen.driver, "cuda": seen.cuda, **self._cards()}

    async def logs(self, arguments: Item) -> AsyncIterator[Item]:
        """Give the output of a run under way as items of text, to its end where ``follow`` is.

        Before there is any: how much of its artifacts was fetched.
        """
        entry = self._parts.board.find(str(arguments.get("key", "")))
        if entry is None:
            return
        yield {"attempt": entry.record.attempt, "stage": entry.stage}
        with closing(LiveOutput(self._parts.redactor)) as output:
            while True:
                is_over = entry not in self._parts.board or not arguments.get("follow")
                text = await output.read_on(entry.output)
                if text:
                    yield {"text": text}
                elif is_over:
                    break
                else:
                    if fetched := entry.fetched:
                        yield {"fetched": fetched[0], "of": fetched[1]}
                    await anyio.sleep(_FOLLOW_PAUSE)
            if text := output.rest():
                yield {"text": text}

    async def cancel(self, arguments: Item) -> AsyncIterator[Item]:
        """Stop an attempt; its message is settled and does not come back."""
        key = str(arguments.get("key", ""))
        entry = self._parts.board.find(key)
        if entry is None:
            yield {"cancelled": False, "reason": f"nothing of the key {key!r} runs here"}
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

    async def reload(self, _: Item) -> AsyncIterator[Item]:
        """Execute the daemon anew in place; this one ends soon after the answer."""
        reason = await self._reload()
        yield {
            "reloading": not reason,
            "reason": reason,
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


def _entry(entry: Entry) -> Item:
    record = entry.record
    return {
        "key": record.key,
        "queue": record.message.queue,
        "project": record.experiment_project,
        "attempt": record.attempt,
        "phase": entry.phase,
        "since": record.claimed_at,
        "cores": record.allocation.cores,
        "memory": record.allocation.memory,
        "gpus": list(record.allocation.gpus),
        "idle_since": entry.idle_since,
        "image": record.image,
        "run": record.run,
        "output": str(entry.output) if entry.output else None,
    }
