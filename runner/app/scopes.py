"""Whether runs get systemd scopes of their own, and so outlive a stop of the daemon's unit."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio

import runner.supervisor
from runner import log

_log = log.get_logger(__name__)

#: Stopping it ends every run.
SLICE = "studio-runner-runs.slice"
#: Set by systemd for what it starts as a unit.
_UNIT_VARIABLE = "INVOCATION_ID"
#: Is there where systemd is process 1.
_BOOTED = "/run/systemd/system"
_SCRIPT = Path(runner.supervisor.__file__).with_name("scope.py")
_PATIENCE = 15.0


def wanted(environ: Mapping[str, str], *, is_root: bool, is_booted: bool) -> bool:
    """Decide whether to try: only root may ask systemd, and only a unit's processes need it."""
    return is_root and is_booted and bool(environ.get(_UNIT_VARIABLE))


async def runs_slice(environ: Mapping[str, str] = os.environ) -> str:
    """Return the slice for the scopes of runs; empty where they cannot be had, which is said."""
    if not wanted(environ, is_root=os.geteuid() == 0, is_booted=os.access(_BOOTED, os.F_OK)):
        return ""
    trouble = await _try(SLICE)
    if trouble:
        _log.warning(
            "runs get no systemd scopes of their own and stay in the daemon's unit; it must keep "
            "KillMode=process for them to outlive a stop",
            trouble=trouble,
        )
    return "" if trouble else SLICE


async def _try(slice_name: str) -> str:
    """Have a process of its own enter a scope; return why it could not."""
    command = [sys.executable, "-I", "-S", str(_SCRIPT), slice_name]
    try:
        with anyio.fail_after(_PATIENCE):
            done = await anyio.run_process(command, check=False)
    except (OSError, TimeoutError) as error:
        return str(error) or "systemd does not answer"
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
