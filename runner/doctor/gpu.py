"""The cards: the driver, what NVML says, what the environment leaves of it, who has them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from runner import blocking
from runner.app import gpus
from runner.app.gpu_survey import withheld
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import LIMIT, Patient
from runner.model import Identity
from runner.resources.base import GpuInventory
from runner.resources.gpu_visibility import VARIABLES
from runner.resources.lock_holder import holder
from runner.resources.machine_lock import existing_directory, lock_of
from runner.settings import Settings

_NVIDIA, _DISPLAY = "0x10de", "0x03"
_GIB = 1 << 30
_MEND = "look at it with nvidia-smi; docs/gpus.md says what each reason means"
_INSTALL = "install NVIDIA's driver (apt-get install nvidia-driver-570), then restart the machine"


async def look(patient: Patient, tell: Tell, *, root: Path = Path("/")) -> None:
    """Compare what is plugged in with what experiments would get."""
    settings = patient.settings
    found, cards = await gpus.look(settings, patient.environ)
    if cards.is_choice:
        tell(skipped(f"{cards.why_none}: no card is given to experiments"))
        return
    if cards.complaint:
        tell(failed(f"a daemon would not start: {cards.complaint}", about="start"))
    plugged = await blocking.call(lambda _: _plugged(root), limit=LIMIT)
    if not found.gpus:
        tell(_none(found.why_none, plugged, is_wanted=settings.gpu_probe == "nvml"))
        return
    tell(ok(_driver(found, root)))
    hidden = _restricted(patient, len(found.gpus), plugged)
    if hidden is not None:
        tell(hidden)
    for finding in await blocking.call(lambda _: list(_cards(settings, found)), limit=LIMIT):
        tell(finding)
    for finding in _devices(patient.identity, root):
        tell(finding)


def _plugged(root: Path) -> int:
    """Count NVIDIA's cards on the bus; the driver has no part in it."""
    count = 0
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        count += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return count


def _none(why: str, plugged: int, *, is_wanted: bool) -> Finding:
    if plugged:
        seen = f"{plugged} of NVIDIA's cards are plugged in, and none can be given: {why}"
        return failed(seen, _INSTALL)
    if is_wanted:
        return failed(f"--gpu-probe nvml finds no card: {why}", _INSTALL)
    return skipped("no card of NVIDIA's is plugged in; experiments that need one go elsewhere")


def _driver(found: GpuInventory, root: Path) -> str:
    if found.driver:
        return f"driver {found.driver} answers, for CUDA up to {found.cuda or 'an unknown release'}"
    try:
        text = (root / "proc/driver/nvidia/version").read_text()
    except OSError:
        return "NVML answers"
    version = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return f"driver {version[1]} answers" if version else "NVML answers"


def _restricted(patient: Patient, given: int, plugged: int) -> Finding | None:
    name = next((name for name in VARIABLES if name in patient.environ), None)
    if name is None or given >= plugged:
        return None
    return warning(
        f"{name}={patient.environ[name]} leaves {given} of {plugged} cards",
        f"unset {name} in the daemon's environment to give them all",
    )


def _cards(settings: Settings, found: GpuInventory) -> Iterator[Finding]:
    directory = settings.lock_dir or existing_directory()
    for gpu in found.gpus:
        pid = holder(lock_of(directory, gpu.uuid))
        has = f"{gpu.name}, {gpu.memory / _GIB:.0f} GiB, {gpu.slots} slots"
        if pid is not None:
            # What is in use there is known to that one alone.
            yield ok(f"{has}; the runner with pid {pid} gives it out", gpu.uuid)
        elif why := withheld(settings, found, gpu):
            yield warning(f"{has}; it would not be given out: {why}", _MEND, gpu.uuid)
        else:
            yield ok(has, gpu.uuid)


def _devices(identity: Identity | None, root: Path) -> Iterator[Finding]:
    """Say when the user that experiments run as may not open the cards."""
    for device in ("nvidiactl", "nvidia-uvm"):
        path = root / "dev" / device
        try:
            found = path.stat()
        except OSError:
            yield warning(
                f"/dev/{device} is not there: CUDA makes it at the first use, as root",
                "nvidia-modprobe -u -c 0",
                device,
            )
            continue
        if identity is None:
            usable = os.access(path, os.R_OK | os.W_OK)
        else:
            shift = 6 if found.st_uid == identity.uid else 3 if found.st_gid == identity.gid else 0
            usable = found.st_mode >> shift & 6 == 6  # noqa: PLR2004 - read and write
        if not usable:
            yield failed(
                f"the user that experiments run as may not open /dev/{device}",
                f"chmod a+rw /dev/{device}, or put the user into its group",
                device,
            )
