"""The sandbox that is none: a process with the daemon's view of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import runner.supervisor
from runner.sandboxes.base import Command, Launch, Sandbox


class PlainSandbox(Sandbox):
    """Runs the command as it is, as its own user where one is named.

    It hides nothing: the experiment sees the file system, the network and the processes that its
    user may see. What it is kept from is what file permissions keep it from, and, where mounts can
    be made (``protects``), writing to ``Command.readonly``.
    """

    name = "plain"

    def __init__(self) -> None:
        self.protects = _binds_work()

    def launch(self, command: Command) -> Launch:
        """Pass the command through, with its read-only directories where they can be had."""
        return Launch(
            argv=command.argv,
            cwd=command.cwd,
            env=command.env,
            identity=command.identity,
            readonly_binds=command.readonly if self.protects else (),
        )


def _binds_work() -> bool:
    """Try it: being root is not enough in a container, and being told so is too late in a run."""
    if os.geteuid() != 0:
        return False
    script = Path(runner.supervisor.__file__).with_name("probe.py")
    tried = subprocess.run(
        [sys.executable, "-I", "-S", str(script)], check=False, capture_output=True
    )
    return tried.returncode == 0
