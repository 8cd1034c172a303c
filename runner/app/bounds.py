"""How runs are kept to their shares here: as ``--enforce`` says, and as a trial shows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import anyio

import runner.supervisor
from runner import log
from runner.errors import Misconfigured
from runner.lifecycle.runs.bounding import Bounding
from runner.settings import Settings
from runner.supervisor.bounds import CGROUP, MEASURE

_log = log.get_logger(__name__)

AUTO, OFF = "auto", "off"
_SCRIPT = Path(runner.supervisor.__file__).with_name("bounds_trial.py")
_PATIENCE = 20.0
_MEASURED = (
    "memory and processes of experiments are measured, and who is above is ended; cores are not "
    "bounded"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """How runs are bounded, and in one sentence what that is worth."""

    #: As ``Launch.enforce``.
    how: str
    why: str
    #: Control groups were wanted and do not work: the reason.
    trouble: str = ""


async def bounding(settings: Settings, runs_slice: str) -> Bounding:
    """Return what holds runs, and log it. Raises Misconfigured for what is demanded and missing."""
    choice = await choose(settings.enforce, runs_slice)
    _log.info(choice.why, **({"trouble": choice.trouble} if choice.trouble else {}))
    return Bounding(
        enforce=choice.how,
        is_strict=settings.enforce == CGROUP,
        pids=settings.pids_limit,
        hard_cores=settings.hard_cores,
    )


async def choose(wanted: str, runs_slice: str) -> Choice:
    """Try control groups where they are wanted. Raises Misconfigured where they must be had."""
    if wanted == OFF:
        return Choice("", "experiments are not kept to their memory, cores and processes")
    if wanted == MEASURE:
        return Choice(MEASURE, _MEASURED)
    found, trouble = await trial(runs_slice)
    if found:
        version, *more = found.split()
        what = "memory, cores and processes" if more else "memory and processes, not cores,"
        return Choice(CGROUP, f"{what} of experiments are bounded by control groups v{version}")
    if wanted == CGROUP:
        raise Misconfigured(
            f"--enforce {CGROUP} cannot be had on this machine: {trouble}; run the daemon as root "
            f"or in a control group of its own (Delegate=yes), or choose {AUTO} or {MEASURE}"
        )
    return Choice(MEASURE, _MEASURED, trouble)


async def trial(runs_slice: str) -> tuple[str, str]:
    """Have a process of its own make groups; return what it says, or why it could not."""
    command = [sys.executable, "-I", "-S", str(_SCRIPT), *([runs_slice] if runs_slice else [])]
    try:
        with anyio.fail_after(_PATIENCE):
            done = await anyio.run_process(command, check=False)
    except (OSError, TimeoutError) as error:
        return "", str(error) or f"a trial was not over within {_PATIENCE:g} s"
    said = done.stderr if done.returncode else done.stdout
    text = said.decode(errors="replace").strip()
    return ("", text or "a trial failed without a word") if done.returncode else (text, "")
