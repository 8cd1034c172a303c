"""What the daemon would take from its queues now, and what it would leave, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import anyio

from runner.app.sources import brokers
from runner.errors import RequestError, RunnerError
from runner.lifecycle import admission
from runner.model import Capacity, Message
from runner.queues.base import Broker, Inspectable, Queue
from runner.request import decode
from runner.resources import PROBES
from runner.resources.base import HostProbe
from runner.resources.caps import caps
from runner.settings import Settings

_SHOWN = 20


def dry_run(settings: Settings) -> int:
    """Print the plan; take nothing, lock nothing, make nothing. Returns the exit status."""
    return anyio.run(_print, settings)


async def _print(settings: Settings) -> int:
    async for line in plan(settings):
        print(line)  # noqa: T201 - the one command whose result is text on stdout
    return 0


async def plan(settings: Settings) -> AsyncIterator[str]:
    """Yield the plan line by line."""
    total = _capacity(settings)
    yield f"for experiments: {total.cores} cores, {total.memory} bytes of memory"
    async with AsyncExitStack() as stack:
        sources = [await stack.enter_async_context(one) for one in brokers(settings, "dry-run")]
        if not sources:
            yield "no source of experiments: name a directory with --queue-root"
        for broker in sources:
            async for line in _broker(broker, total):
                yield line


def _capacity(settings: Settings) -> Capacity:
    host: HostProbe = PROBES.load("host")(settings.working_dir, floor=settings.min_free_disk.of)
    return caps(
        replace(host.capacity(), gpus=()),
        max_cores=settings.max_cores,
        max_mem=settings.max_mem,
        max_disk=settings.max_disk,
        cpu_only=settings.cpu_only,
    ).capacity


async def _broker(broker: Broker, total: Capacity) -> AsyncIterator[str]:
    try:
        async for names in broker.discover():
            yield f"{broker.name} queues in {broker.project}: {len(names)}"
            for name in sorted(names):
                async for line in _queue(await broker.open(name), total):
                    yield line
            return
    except RunnerError as error:
        yield f"{broker.name} queues in {broker.project}: {error}"


async def _queue(queue: Queue, total: Capacity) -> AsyncIterator[str]:
    waiting = await queue.depth()
    yield f"  {queue.name}: {'?' if waiting is None else waiting} waiting"
    if isinstance(queue, Inspectable):
        for message in await queue.peek(_SHOWN):
            yield f"    {_verdict(message, total)}"


def _verdict(message: Message, total: Capacity) -> str:
    try:
        request = decode(message)
    except RequestError as error:
        return f"would refuse {message.id}: {error}"
    verdict = admission.decide(request.needs, total, total)
    if isinstance(verdict, admission.Never):
        return f"would leave {request.experiment.key}: {verdict.reason}"
    return f"would take {request.experiment.key}"
