"""The sandbox that is none: the daemon's view of the machine, but for what is hidden of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import runner.supervisor
from runner.sandboxes.base import Command, Identity, Launch, Sandbox

#: Begins the name of what is made for a trial in a run's upper directory.
SCRATCH = ".overlay-"


class PlainSandbox(Sandbox):
    """Runs the command as it is, as its own user where one is named.

    The experiment sees the file system and the network that its user may see. What it is kept from
    is what file permissions keep it from; and, where mounts can be made, writing to
    ``Command.readonly`` and its overlays' lower directories (``protects``, ``overlays``), looking
    into ``Command.hidden`` (``hides``), and other processes than its own: a script that ends all of
    its name, or of its user, ends none of its neighbours'. An ordinary user's mounts take a user
    namespace, in which other users' files look like nobody's; it is made only for who has overlays
    or something to hide. Who is root in the run can take mounts away again: it is kept from
    accidents alone.
    """

    name = "plain"

    def __init__(self) -> None:
        answer = _mounts()
        self.hides = answer is not None
        #: A run has processes of its own.
        self.encloses = bool(answer)
        self.binds = self.hides
        self.protects = self.hides and os.geteuid() == 0

    def try_overlays(self, *, lower: Path, upper: Path, identity: Identity | None = None) -> bool:
        """See ``Sandbox``: mount one, in a process of its own."""
        self.overlays = try_mounts(lower=lower, upper=upper, identity=identity)
        return self.overlays

    def launch(self, command: Command) -> Launch:
        """Pass the command through, with the mounts that can be had."""
        if command.overlays and not self.overlays:
            raise ValueError("overlays are asked for that this sandbox does not have")
        if command.binds and not self.binds:
            raise ValueError("binds are asked for that this sandbox does not have")
        hidden = command.hidden if self.hides else ()
        has_mounts = self.protects or bool(hidden or command.overlays or command.binds)
        has_namespaces = has_mounts or not command.network
        return Launch(
            argv=command.argv,
            cwd=command.cwd,
            env=command.env,
            identity=command.identity,
            readonly_binds=command.readonly if has_mounts else (),
            overlays=command.overlays,
            hidden=hidden,
            visible=needed(command) if hidden else (),
            binds=command.binds,
            user_namespace=has_namespaces and os.geteuid() != 0,
            own_network=not command.network,
            own_processes=has_mounts and self.encloses,
            leases=command.leases,
        )


def needed(command: Command) -> tuple[Path, ...]:
    """Return the directories that stay where they are below what is hidden."""
    targets = (bind.target for bind in command.binds)
    own = (*command.writable, *command.readonly, *command.visible, *command.tools)
    return (*own, *targets)


def try_mounts(*, lower: Path, upper: Path, identity: Identity | None = None) -> bool:
    """Find out what ``Sandbox.try_overlays`` wants to know, in a process of its own."""
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=upper))
    try:
        whose = (identity.uid, identity.gid) if identity is not None else ()
        return _probe(lower, scratch, *whose) is not None
    finally:
        _remove(scratch)


@cache
def _mounts() -> bytes | None:
    """Try once what all sandboxes need: our rights and the kernel stay what they are."""
    return _probe()


def _probe(*arguments: Path | int) -> bytes | None:
    """Try it: being root is not enough in a container, and being told so is too late in a run.

    Returns what it says; ``None`` where it cannot be done.
    """
    script = Path(runner.supervisor.__file__).with_name("probe.py")
    command = [sys.executable, "-I", "-S", str(script), *map(str, arguments)]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _remove(scratch: Path) -> None:
    # The kernel's own directories there forbid everything, also to their owner.
    for folder, names, _ in os.walk(scratch):
        for name in names:
            Path(folder, name).chmod(0o700)
    shutil.rmtree(scratch)
