"""What this machine gives to experiments: measured, capped, locked, and put into the books."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from runner import log
from runner.app import gpus, keeping
from runner.app.gpus import Cards
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.lifecycle.gpus.choice import choose_gpus
from runner.lifecycle.runs.record import Records
from runner.resources import PROBES
from runner.resources.base import GpuInventory, GpuProbe, HostProbe
from runner.resources.caps import caps
from runner.resources.ledger import Ledger
from runner.resources.machine_lock import MachineLocks, default_directory
from runner.settings import Settings

_log = log.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Machine:
    """The books, and what goes on measuring while the daemon lives."""

    ledger: Ledger
    host: HostProbe
    probe: GpuProbe
    #: The cards as they were at the start, those included that other runners give out.
    inventory: GpuInventory


async def opened(stack: AsyncExitStack, settings: Settings, records: Path, kept: Locks) -> Machine:
    """Measure and lock the machine. Raises Misconfigured.

    The locks on the machine and its cards are held, and the probe lives, until ``stack`` ends.
    """
    locks = stack.enter_context(
        MachineLocks(_lock_dir(settings), state_dir=settings.state_dir, locks=kept)
    )
    locks.take_machine(is_bounded=is_bounded(settings))
    # What adopted runs hold looks used to the probe, and is given again when they end.
    held = tuple(record.allocation for record in Records(records).read_all())
    host: HostProbe = PROBES.load("host")(
        settings.working_dir,
        floor=settings.min_free_disk.of,
        held=(*held, keeping.held(settings)),
        state_dir=settings.state_dir,
    )
    probe = gpus.probe_of(settings, os.environ)
    stack.push_async_callback(probe.aclose)
    found = await probe.look()
    cards = _taken(settings, found, locks)
    capped = caps(
        replace(host.capacity(), gpus=cards.gpus, why_no_gpus=cards.why_none),
        max_cores=settings.max_cores,
        max_mem=settings.max_mem,
        max_disk=settings.max_disk,
    )
    for warning in capped.warnings:
        _log.warning(warning)
    reserve = gpus.reserve_of(settings)
    if complaint := reserve.complaint(capped.capacity):
        _log.warning(complaint)
    return Machine(Ledger(capped.capacity, choose_gpus, reserve=reserve), host, probe, found)


def is_bounded(settings: Settings) -> bool:
    """Tell whether the operator has said how much of the machine is this daemon's."""
    return bool(settings.max_cores and settings.max_mem)


def _taken(settings: Settings, found: GpuInventory, locks: MachineLocks) -> Cards:
    shared = locks.take_gpus(found.gpus)
    for sentence in shared.sentences:
        _log.warning(sentence)
    cards = gpus.cards(settings, found, shared)
    if cards.complaint:
        raise Misconfigured(cards.complaint)
    if cards.is_choice:
        _log.info("experiments get no GPU", why=cards.why_none)
    elif cards.why_none:
        _log.warning(
            "no GPUs: experiments that need one are refused until the daemon is started anew",
            why=cards.why_none,
        )
    return cards


def _lock_dir(settings: Settings) -> Path:
    chosen = settings.lock_dir
    if chosen is None:
        return default_directory()
    try:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"--lock-dir {chosen} cannot be made: {error.strerror}") from error
    return chosen
