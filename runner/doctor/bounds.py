"""The bounds of runs: whether control groups hold them here, tried."""

from __future__ import annotations

import os

from runner.app import bounds, scopes
from runner.app.bounds import AUTO, OFF
from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import Patient
from runner.errors import Misconfigured
from runner.supervisor.bounds import CGROUP

_BOOTED = "/run/systemd/system"
_GROUPS = (
    "run the daemon as root, or as a service of systemd with Delegate=yes; in a container mount "
    "/sys/fs/cgroup writable"
)
_OLD = "boot with systemd.unified_cgroup_hierarchy=1 and, where memory is off, cgroup_enable=memory"


async def look(patient: Patient, tell: Tell) -> None:
    """Try what a daemon with these settings would use; as root under systemd in a scope."""
    is_service = os.geteuid() == 0 and os.access(_BOOTED, os.F_OK)
    try:
        choice = await bounds.choose(patient.settings.enforce, scopes.SLICE if is_service else "")
    except Misconfigured as error:
        tell(failed(str(error), _GROUPS))
    else:
        tell(_of(choice, patient.settings.enforce))


def _of(choice: bounds.Choice, wanted: str) -> Finding:
    if choice.how == CGROUP:
        return ok(choice.why)
    if wanted == OFF:
        return warning(choice.why, f"--enforce {AUTO}")
    if not choice.trouble:
        return ok(choice.why)
    remedy = f"{_GROUPS}; {_OLD}" if " has no " in choice.trouble else _GROUPS
    return warning(f"{choice.why}, for control groups do not work: {choice.trouble}", remedy)
