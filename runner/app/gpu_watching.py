"""Has the cards of this machine looked after while the daemon lives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio

from runner.app.machine import Machine
from runner.lifecycle.chore import Chore
from runner.lifecycle.gpus.cards import Cards
from runner.lifecycle.gpus.gone import GoneWatch
from runner.lifecycle.gpus.idle import IdleWatch
from runner.lifecycle.gpus.watch import GpuWatch
from runner.lifecycle.parts import Parts
from runner.model import Report
from runner.settings import Settings

#: Seconds.
_SHORTEST = 0.05


def judged(
    settings: Settings, machine: Machine, report: Callable[[Report], Awaitable[None]]
) -> GpuWatch:
    """Withhold at once what was seen broken at the start; nobody looks on before ``begin``."""
    cards = Cards(machine.ledger.total.gpus, noise=settings.gpu_noise)
    watch = GpuWatch(machine.probe, cards, machine.ledger, report, _interval(settings))
    watch.begin(machine.inventory)
    return watch


async def begin(stack: AsyncExitStack, settings: Settings, watch: GpuWatch, parts: Parts) -> None:
    """Look until ``stack`` ends, at the cards and at whom they do nothing for."""
    watch.listeners.append(parts.intake.look)
    if not watch.cards.gpus:
        return
    group = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(group.cancel_scope.cancel)
    group.start_soon(Chore("watching the cards", watch.watch).keep)
    gone = GoneWatch(parts, interval=_interval(settings))
    group.start_soon(Chore("looking for runs without their cards", gone.watch).keep)
    if settings.idle_gpu:
        idle = IdleWatch(
            parts,
            longest=settings.idle_gpu.total_seconds(),
            ends=settings.end_idle,
            interval=_interval(settings),
        )
        group.start_soon(Chore("looking for idle cards", idle.watch).keep)


def _interval(settings: Settings) -> float:
    """Return the seconds between two looks; looking is work for the driver, too."""
    return max(_SHORTEST, settings.gpu_look.total_seconds())
