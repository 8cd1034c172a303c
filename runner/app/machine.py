"""What this machine gives to experiments: measured, capped, locked, and put into the books."""

from __future__ import annotations

import ctypes
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from runner import log
from runner.errors import Misconfigured
from runner.handover import Locks
from runner.lifecycle.admission import choose_gpus
from runner.lifecycle.record import Records
from runner.model import Gpu
from runner.resources import PROBES
from runner.resources.base import GpuInventory, GpuProbe, HostProbe
from runner.resources.caps import caps
from runner.resources.ledger import Ledger
from runner.resources.machine_lock import MachineLocks, default_directory
from runner.settings import Settings

_log = log.get_logger(__name__)


async def opened(
    stack: AsyncExitStack, settings: Settings, records: Path, kept: Locks
) -> tuple[Ledger, HostProbe]:
    """Return the ledger, and what goes on measuring the disk. Raises Misconfigured.

    The locks on the machine and its cards are held until ``stack`` ends.
    """
    locks = stack.enter_context(
        MachineLocks(_lock_dir(settings), state_dir=settings.state_dir, locks=kept)
    )
    locks.take_machine()
    # What adopted runs hold looks used to the probe, and is given again when they end.
    held = tuple(record.allocation for record in Records(records).read_all())
    host: HostProbe = PROBES.load("host")(
        settings.working_dir,
        floor=settings.min_free_disk.of,
        held=held,
        state_dir=settings.state_dir,
    )
    found = await inventory(settings)
    gpus: tuple[Gpu, ...] = ()
    if found.gpus:
        shared = locks.take_gpus(found.gpus)
        gpus = shared.gpus
        for sentence in shared.taken:
            _log.warning(sentence)
    else:
        _log.info("experiments get no GPU", why=found.why_none)
    capped = caps(
        replace(host.capacity(), gpus=gpus),
        max_cores=settings.max_cores,
        max_mem=settings.max_mem,
        max_disk=settings.max_disk,
        cpu_only=settings.cpu_only,
    )
    for warning in capped.warnings:
        _log.warning(warning)
    return Ledger(capped.capacity, choose_gpus), host


def _lock_dir(settings: Settings) -> Path:
    chosen = settings.lock_dir
    if chosen is None:
        return default_directory()
    try:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"--lock-dir {chosen} cannot be made: {error.strerror}") from error
    return chosen


async def inventory(settings: Settings) -> GpuInventory:
    """Return the cards that the settings and the environment leave; locks nothing."""
    name = settings.gpu_probe
    if settings.cpu_only:
        name = "none"
    elif name == "auto":
        name = "nvml" if _has_driver() else "none"
    probe: GpuProbe = PROBES.load(name)()
    return await probe.look()


def _has_driver() -> bool:
    """Asking NVML takes a process of its own; a machine without the library is spared it."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True
