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
        user_namespace: bool = False,
        no_new_privileges: bool = True,
        runs_slice: str = "",
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
        #: Bubblewrap with its options, put up around all this; empty: there are no walls.
        self.walls = walls or []
        self.user_namespace = user_namespace
        self.no_new_privileges = no_new_privileges
        #: Where systemd keeps the scopes of runs; empty: the run stays in the daemon's own unit.
        self.runs_slice = runs_slice

    def save(self, directory: bytes) -> None:
        """Write the launch into the run's directory, for its owner's eyes alone."""
        fields: dict[str, Any] = vars(self)
        records.write(directory, records.LAUNCH, marshal.dumps(fields))

    @classmethod
    def take(cls, directory: bytes) -> Launch:
        """Read the launch and remove it. The same interpreter has just written it."""
        path = os.path.join(directory, records.LAUNCH)
        with open(path, "rb") as file:
            launch = cls(**marshal.load(file))  # noqa: S302 - our own file, 0600 in 0700
        os.unlink(path)
        return launch
