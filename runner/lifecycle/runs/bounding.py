"""What holds each run: the operator's rules, and the bounds that follow for one share."""

from __future__ import annotations

from dataclasses import dataclass

from runner.model import Allocation, Bytes
from runner.sandboxes.base import Bounds


@dataclass(frozen=True, slots=True)
class Bounding:
    """How runs are bounded on this machine; as it stands here, not at all."""

    #: As in ``Bounds``.
    enforce: str = ""
    is_strict: bool = False
    #: Processes and threads of one run; 0 is no bound.
    pids: int = 0
    hard_cores: bool = True

    def of(self, share: Allocation, total: Bytes, *, own_user: bool = False) -> Bounds:
        """Return the bounds of a run with this share; ``total`` is what all runs may have.

        A request that states no memory has none reserved, and asked for no bound: it may use what
        the machine gives to experiments, and is the first to go when that runs short.
        """
        return Bounds(
            memory=share.memory or total,
            memory_asked=share.memory > 0,
            cores=share.cores,
            pids=self.pids,
            hard_cores=self.hard_cores,
            own_user=own_user,
            enforce=self.enforce,
            enforce_strictly=self.is_strict,
        )
