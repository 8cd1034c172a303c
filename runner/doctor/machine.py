"""Cores and memory as the daemon sees them, and who gives them out already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runner import blocking, own_files
from runner.app.dry_run import capacity
from runner.app.machine import is_bounded
from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import LIMIT, Patient
from runner.resources.lock_holder import holder, noted
from runner.resources.machine_lock import existing_directory
from runner.settings import Settings

_GIB = 1 << 30
_LITTLE = _GIB


async def look(patient: Patient, tell: Tell) -> None:
    """Measure as the daemon does, and lock nothing."""
    for finding in await blocking.call(lambda _: list(_findings(patient.settings)), limit=LIMIT):
        tell(finding)


def _findings(settings: Settings) -> Iterator[Finding]:
    total = capacity(settings)
    seen = os.cpu_count() or 0
    cores = f"{total.cores} of {seen} cores" if total.cores != seen else f"{seen} cores"
    sentence = f"for experiments: {cores}, {total.memory / _GIB:.1f} GiB of memory, "
    sentence += f"{total.disk / _GIB:.1f} GiB of disk"
    if total.memory < _LITTLE:
        yield warning(
            f"{sentence}: little memory is left", "end what uses it, or raise the container's limit"
        )
    else:
        yield ok(sentence)
    yield from _of_lock(settings)


def _of_lock(settings: Settings) -> Iterator[Finding]:
    path = (settings.lock_dir or existing_directory()) / "machine.lock"
    pid = holder(path)
    if pid is None:
        yield ok("no runner gives out this machine's cores and memory", "lock")
        return
    owner = _owner(path)
    if owner == str(settings.state_dir):
        yield ok(f"the daemon with pid {pid} gives them out", "lock")
    elif is_bounded(settings) and holder(path, alone=True) is None:
        yield ok(f"the runner with pid {pid} has a part of them, as this one would have", "lock")
    else:
        yield failed(
            f"the runner with pid {pid} and state directory {owner!r} already gives out this "
            "machine's cores and memory: a daemon of these settings would not start",
            "stop that one, or give each its own --max-cores, --max-mem and cards",
            "lock",
        )


def _owner(path: Path) -> str:
    """Return the state directory in the note."""
    try:
        known = noted(own_files.read(path)[:4096])
    except OSError:
        known = None
    return known.state_dir if known else "unknown"
