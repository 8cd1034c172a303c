"""The daemon's answers to the command line: status, logs, cancel, drain, detach."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

import anyio

from runner.errors import RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.live_output import LiveOutput
from runner.lifecycle.loop import Loop
from runner.lifecycle.parts import Parts
from runner.model import Capacity, Cause
from runner.queues.base import Queue

Item = dict[str, Any]
Answer = Callable[[Item], AsyncIterator[Item]]

_FOLLOW_PAUSE = 0.2
#: An account may have hundreds of queues, and a broker may not answer.
_DEPTHS_AT_ONCE, _DEPTHS_SECONDS = 16, 3.0


class Desk:
    """One handler per verb of the control socket."""

    def __init__(self, parts: Parts, loop: Loop, *, detach: Callable[[], None]) -> None:
        self._parts = parts
        self._loop = loop
        self._detach = detach
        self._started = time.time()

    @property
    def handlers(self) -> Mapping[str, Answer]:
        """The verbs."""
        return {
            "status": self.status,
            "logs": self.logs,
            "cancel": self.cancel,
            "drain": self.drain,
            "detach": self.detach,
        }

    async def status(self, _: Item) -> AsyncIterator[Item]:
        """Give one item: the daemon, what runs, what ended lately."""
        ledger = self._parts.intake.ledger
        yield {
            "daemon": {
                "pid": os.getpid(),
                "host": self._parts.host,
                "started": self._started,
                "draining": self._loop.is_draining,
                "capacity": _capacity(ledger.total),
                "free": _capacity(ledger.free),
                "queues": await self._queues(),
                "sources": self._sources(),
            },
            "running": [_entry(entry) for entry in self._parts.board],
            "recent": [asdict(ending) for ending in self._parts.history.endings],
        }

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
        """
        while not self._loop.is_draining or (arguments.get("now") and not self._loop.is_stopping):
            self._loop.drain()
        yield {"draining": True, "running": len(self._parts.board)}

    async def detach(self, _: Item) -> AsyncIterator[Item]:
        """Leave, and leave every run to the next daemon."""
        yield {"detached": True, "running": len(self._parts.board)}
        self._detach()

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

    async def _queues(self) -> list[Item]:
        """Tell of every queue how much waits in it, where its broker says so quickly."""
        queues = list(self._loop.queues.values())
        items = [{"name": one.name, "broker": one.broker, "waiting": None} for one in queues]
        at_once = anyio.CapacityLimiter(_DEPTHS_AT_ONCE)

        async def ask(queue: Queue, item: Item) -> None:
            async with at_once:
                with suppress(RunnerError):
                    item["waiting"] = await queue.depth()

        with anyio.move_on_after(_DEPTHS_SECONDS):
            async with anyio.create_task_group() as group:
                for queue, item in zip(queues, items, strict=True):
                    group.start_soon(ask, queue, item)
        return items


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
        "run": record.run,
        "output": str(entry.output) if entry.output else None,
    }
