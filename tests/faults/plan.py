"""What a soak does, all of it out of one seed: which experiments, and which faults when."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

from tests.faults.kinds import KINDS, LOSES

DAEMON, SUPERVISOR, BOTH = "daemon", "supervisor", "both"
VICTIMS = (DAEMON, SUPERVISOR, BOTH)
#: Whoever is sent to sleep is awake again after longer than a lease: SUSPEND stops a daemon alone,
#: SLEEP everything on its host. DRAIN and STOP are the first and the second TERM.
SUSPEND, SLEEP, DRAIN, STOP = "suspend", "sleep", "drain", "stop"
BROKER, STORE = "broker", "store"

_FAULTS: Mapping[str, int] = MappingProxyType(
    {DAEMON: 8, BOTH: 4, SUPERVISOR: 4, SUSPEND: 2, SLEEP: 2, DRAIN: 2, STOP: 2}
    | {BROKER: 1, STORE: 1}
)
_EXPERIMENTS: Mapping[str, int] = MappingProxyType(
    {"ok": 8, "fails": 3, "prints much": 3, "goes on": 4, "has a card": 4, "stores much": 2}
    | {LOSES: 2}
)


@dataclass(frozen=True)
class Fault:
    """One fault, counted from the one before."""

    #: Seconds of peace before it.
    after: float
    act: str
    #: Which of the hosts.
    host: int
    #: How long what was hit stays away.
    down: float

    def __str__(self) -> str:
        where = "" if self.act in {BROKER, STORE} else f" of host {self.host}"
        return f"+{self.after:.1f} s: {self.act}{where}, away for {self.down:.1f} s"


@dataclass(frozen=True)
class Plan:
    """The same seed gives the same experiments and the same faults in the same order.

    How far an experiment has come when a fault strikes is the machine's doing.
    """

    seed: int
    hosts: int
    lease: float

    def experiments(self) -> Iterator[tuple[str, float]]:
        """Yield kinds, and how many seconds a step of each takes, for ever."""
        chance = random.Random(f"experiments {self.seed}")  # noqa: S311 - the same every time
        names, weights = list(_EXPERIMENTS), list(_EXPERIMENTS.values())
        assert set(names) == set(KINDS)
        while True:
            (kind,) = chance.choices(names, weights)
            yield kind, round(chance.uniform(0.05, 0.6), 2)

    def faults(self) -> Iterator[Fault]:
        """Yield faults, for ever."""
        chance = random.Random(f"faults {self.seed}")  # noqa: S311 - the same every time
        names, weights = list(_FAULTS), list(_FAULTS.values())
        while True:
            (act,) = chance.choices(names, weights)
            after, down = chance.uniform(1.0, 4.0), chance.uniform(0.0, 1.5 * self.lease)
            if act in {SUSPEND, SLEEP}:
                down += self.lease
            yield Fault(round(after, 1), act, chance.randrange(self.hosts), round(down, 1))

    def lines(self, most: int) -> list[str]:
        """Return the first experiments and faults, to be read."""
        wanted = [f"{kind}, {seconds} s" for kind, seconds in islice(self.experiments(), most)]
        return [*wanted, *(str(fault) for fault in islice(self.faults(), most))]
