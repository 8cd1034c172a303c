"""What the daemon would take from its queues now, and what it would leave, and why."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import anyio

from runner import blocking
from runner.app import gpus
from runner.app.choosing import choice
from runner.app.credentials import credential_sources
from runner.app.sources import local, maker
from runner.errors import Misconfigured, RequestError, RunnerError
from runner.lifecycle.claiming import admission
from runner.model import Capacity, Message
from runner.queues.base import Broker, Inspectable, Queue
from runner.queues.choice import Choice
from runner.queues.credentials import found_now
from runner.queues.credentials.finder import Finder
from runner.queues.drawer import DEAD_LETTERS, Drawer
from runner.request.envelope import is_envelope
from runner.request.schema import decode
from runner.request.units import format_size
from runner.resources import PROBES
from runner.resources.base import HostProbe
from runner.resources.caps import caps
from runner.settings import Settings

_OWNER = "dry-run"
_LIMIT = blocking.Limit(1)
#: Seconds for one broker to list its queues.
_PATIENCE = 60.0
_SHOWN = 20


def dry_run(settings: Settings) -> int:
    """Print the plan; take nothing, lock nothing, make nothing. Returns the exit status."""
    return anyio.run(_print, settings)


async def _print(settings: Settings) -> int:
    async for line in plan(settings):
        print(line)  # noqa: T201 - the one command whose result is text on stdout
    return 0


async def plan(settings: Settings) -> AsyncIterator[str]:
    """Yield the plan line by line. Raises Misconfigured in the end where no daemon would start."""
    _, cards = await gpus.look(settings, os.environ)
    total = replace(capacity(settings), gpus=cards.gpus, why_no_gpus=cards.why_none)
    yield (
        f"for experiments: {total.cores} cores, {format_size(total.memory)} of memory, "
        f"{gpus.counted(total)}"
    )
    for card in total.gpus:
        yield f"  {gpus.described(card)}: {format_size(card.memory)} of memory, {card.slots} slots"
    if complaint := gpus.reserve_of(settings).complaint(total):
        yield complaint
    async for line in _sources(settings, total):
        yield line
    if cards.complaint:
        raise Misconfigured(cards.complaint)


async def _sources(settings: Settings, total: Capacity) -> AsyncIterator[str]:
    found = await blocking.call(lambda _: _credentials(settings), limit=_LIMIT)
    for trouble in found.troubles:
        yield f"{trouble.about}: {trouble.sentence}"
    drawer = Drawer(settings.state_dir / DEAD_LETTERS, settings.dead_letter_limit)
    make = maker(settings, _OWNER, drawer)
    for broker, origin in local(settings, _OWNER):
        async for line in _source(settings, broker.name, origin, _at_hand(broker), total):
            yield line
    for credential in found.chosen.credentials:
        made = partial(make, credential)
        async for line in _source(settings, credential.broker, credential.origin, made, total):
            yield line
    if settings.queue_root is None and not found.chosen.credentials:
        yield (
            "no source of experiments: put credentials into --certs-dir "
            f"{settings.certs_dir}, or name a directory with --queue-root"
        )


def _credentials(settings: Settings) -> Finder:
    return found_now(credential_sources(settings, os.environ))


def _at_hand(broker: Broker) -> Callable[[], Awaitable[Broker]]:
    async def give() -> Broker:
        return broker

    return give


def capacity(settings: Settings) -> Capacity:
    """Return what experiments would be given here, without GPUs. Raises Misconfigured."""
    # It need not be there before the daemon's first start.
    parents = (settings.working_dir, *settings.working_dir.parents)
    there = next(path for path in parents if path.is_dir())
    host: HostProbe = PROBES.load("host")(there, floor=settings.min_free_disk.of)
    return caps(
        replace(host.capacity(), gpus=()),
        max_cores=settings.max_cores,
        max_mem=settings.max_mem,
        max_disk=settings.max_disk,
    ).capacity


async def _source(
    settings: Settings,
    kind: str,
    origin: str,
    make: Callable[[], Awaitable[Broker]],
    total: Capacity,
) -> AsyncIterator[str]:
    """Yield what would be taken and what would be left; whatever fails is a line as well."""
    try:
        async with await make() as broker:
            with anyio.fail_after(_PATIENCE):
                async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
                    names = await anext(sets)
            yield f"{kind} queues of {origin}: {len(names)} taken, {len(broker.left)} left"
            for name in sorted(names):
                async for line in _queue(await broker.open(name), total):
                    yield line
            for line in _left(choice(settings, kind), broker.left):
                yield line
    except RunnerError as error:
        yield f"{kind} queues of {origin}: {error}"
    except TimeoutError:
        yield f"{kind} queues of {origin}: no answer within {_PATIENCE:.0f} s"


def _left(rule: Choice, names: Collection[str]) -> Iterator[str]:
    for name in sorted(names)[:_SHOWN]:
        yield f"  {name}: left, {rule.reason(name)}"
    if len(names) > _SHOWN:
        yield f"  and {len(names) - _SHOWN} more are left"


async def _queue(queue: Queue, total: Capacity) -> AsyncIterator[str]:
    try:
        waiting = await queue.depth()
        yield f"  {queue.name}: {'?' if waiting is None else waiting} waiting"
        if isinstance(queue, Inspectable) and not queue.peek_costs:
            for message in await queue.peek(_SHOWN):
                yield f"    {_verdict(message, total)}"
        elif isinstance(queue, Inspectable):
            yield f"    not looked into: {queue.peek_costs}"
    except RunnerError as error:
        yield f"  {queue.name}: {error}"


def _verdict(message: Message, total: Capacity) -> str:
    if is_envelope(message.body):
        return f"{message.id} is sealed: it is opened when it is taken"
    try:
        request = decode(message)
    except RequestError as error:
        return f"would refuse {message.id}: {error}"
    verdict = admission.decide(request.needs, total, total)
    if isinstance(verdict, admission.Never):
        return f"would leave {request.experiment.key}: {verdict.reason}"
    return f"would take {request.experiment.key}"
