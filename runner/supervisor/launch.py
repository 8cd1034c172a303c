"""What the supervisor is asked to start, as written by the daemon and read once by it."""

from __future__ import annotations

import marshal
import os

from runner.supervisor import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Launch:
    """One command with its surroundings and its bounds; times are in seconds."""

    def __init__(
        self,
        *,
        run_id: str,
        argv: list[bytes],
        cwd: bytes,
        env: dict[bytes, bytes],
        output: bytes,
        output_limit: int,
        limits: dict[str, float],
        grace: float,
        orphan_timeout: float,
        identity: tuple[int, int] | None = None,
        readonly_binds: list[bytes] | None = None,
        overlays: list[tuple[bytes, bytes, bytes, bytes]] | None = None,
        hidden: list[bytes] | None = None,
        visible: list[bytes] | None = None,
        leases: list[bytes] | None = None,
        binds: list[tuple[bytes, bytes, bool]] | None = None,
        walls: list[bytes] | None = None,
        walls_env: dict[bytes, bytes] | None = None,
        in_image: bool = False,
        nameless: bool = False,
        own_network: bool = False,
        user_namespace: bool = False,
        own_processes: bool = False,
        no_new_privileges: bool = True,
        runs_slice: str = "",
        bounds: tuple[int, float, int] = (0, 0, 0),
        memory_asked: bool = False,
        hard_cores: bool = True,
        own_user: bool = False,
        enforce: str = "",
        enforce_strictly: bool = False,
    ) -> None:
        self.run_id = run_id
        self.argv = argv
        self.cwd = cwd
        self.env = env
        self.output = output
        self.output_limit = output_limit
        self.limits = limits
        self.grace = grace
        self.orphan_timeout = orphan_timeout
        self.identity = identity
        self.readonly_binds = readonly_binds or []
        #: Target, lower, upper and work directory of each.
        self.overlays = overlays or []
        self.hidden = hidden or []
        #: Stays where it is below what is hidden.
        self.visible = visible or []
        self.leases = leases or []
        #: Source, target and whether it may be changed there, of each.
        self.binds = binds or []
        #: Bubblewrap or Apptainer with its options, put up around all this; empty: no walls.
        self.walls = walls or []
        self.walls_env = walls_env or {}
        #: Behind them lies an image's system, and its environment below ``env``.
        self.in_image = in_image
        #: Who puts up the walls wants our user to have a name, and it has none.
        self.nameless = nameless
        self.own_network = own_network
        self.user_namespace = user_namespace
        #: It gets a namespace of processes, within its mounts.
        self.own_processes = own_processes
        self.no_new_privileges = no_new_privileges
        #: Where systemd keeps the scopes of runs; empty: the run stays in the daemon's own unit.
        self.runs_slice = runs_slice
        #: Memory in bytes, cores, and processes with threads; 0 is no bound.
        self.bounds = bounds
        #: The memory is what the experiment asked for, else what the machine gives to all.
        self.memory_asked = memory_asked
        #: Idle cores are not for it either.
        self.hard_cores = hard_cores
        #: Nobody else runs as that user: its processes are counted by the kernel.
        self.own_user = own_user
        #: One of the words in ``bounds.py``, and whether to start nothing where it cannot be had.
        self.enforce = enforce
        self.enforce_strictly = enforce_strictly

    def save(self, directory: bytes) -> None:
        """Write the launch into the run's directory, for its owner's eyes alone."""
        fields: dict[str, Any] = vars(self)
        records.write(directory, records.LAUNCH, marshal.dumps(fields))

    @classmethod
    def take(cls, directory: bytes) -> Launch:
        """Read the launch, once. The same interpreter has just written it.

        Its file becomes the one that ``records.reserve`` empties and keeps for how the run ended.
        """
        path = os.path.join(directory, records.LAUNCH)
        with open(path, "rb") as file:
            launch = cls(**marshal.load(file))  # noqa: S302 - our own file, 0600 in 0700
        os.replace(path, os.path.join(directory, records.EXIT) + records.PART)
        return launch
