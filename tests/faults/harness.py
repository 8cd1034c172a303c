"""Kills daemons and supervisors at every moment, with every broker, and then for long; counts.

::

    python -m tests.faults.harness --seed 8 --experiments 60 --minutes 9

First every moment of ``wreck.MOMENTS``: on local queues and stores with every victim; on servers,
with results in S3, with one victim each, or with ``--every-victim`` with all. Then a soak: three
daemons on one durable queue, experiments of several kinds, and a fault every few seconds, which may
be a restart of the broker or the store. Ends with 1 where anything was lost or left. The seed
decides on everything but the machine's own pace; ``--plan 20`` shows how its soak begins.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults.brokers import Maker, makers
from tests.faults.named import Named
from tests.faults.plan import VICTIMS, Plan
from tests.faults.shelves import S3Shelf, s3_shelf
from tests.faults.soak import Soak
from tests.faults.toll import Toll
from tests.faults.wreck import Wreck, moments
from tests.servers.nvml import compiled
from tests.services import absence

LOCAL = "local"
BROKERS = (LOCAL, "rabbitmq", "sqs", "pubsub")
#: Those that are durable come first.
_SOAKED = ("rabbitmq", LOCAL)
HOSTS, LEASE = 3, 4.0
#: Seconds of ``--minutes`` that are kept for the end of the soak.
_END = 120.0

Say = Callable[[str], None]


class Harness:
    """What there is to be hurt, and what it has cost."""

    def __init__(self, seed: int, names: Sequence[str], say: Say) -> None:
        self.seed = seed
        self.toll = Toll()
        self._names = names
        self._say = say
        self._makers: dict[str, Maker] = {}
        self._shelf: S3Shelf | None = None
        self._driver: Path | None = None

    @contextmanager
    def served(self) -> Iterator[Harness]:
        """Run the servers that there are; what is not there is said to be left out."""
        with tempfile.TemporaryDirectory(prefix="faults-") as root, ExitStack() as stack:
            there = [name for name in self._names if name == LOCAL or self._has(name)]
            self._makers = stack.enter_context(makers(there, Path(root)))
            if self._has("s3"):
                (Path(root) / "s3").mkdir()
                self._shelf = stack.enter_context(s3_shelf(Path(root) / "s3"))
            if self._has("nvml"):
                self._driver = compiled(Path(root))
            self._names = there
            yield self

    def named(self, deadline: float, *, every_victim: bool) -> None:
        """Kill at every named moment."""
        for place, name in enumerate(self._names):
            with self._box(name) as wreck:
                seen = moments(wreck.broker)
                faults = list(itertools.product(seen, VICTIMS))
                if name != LOCAL and not every_victim:
                    turns = itertools.islice(itertools.cycle(VICTIMS), self.seed + place, None)
                    faults = list(zip(seen, turns, strict=False))
                chance = random.Random(f"named {self.seed} {name}")  # noqa: S311 - the same
                chance.shuffle(faults)
                scene = Named(wreck, chance, say=self._say)
                scene.inject(faults, deadline)
                self.toll.add(scene.toll)

    def soak(self, experiments: int, deadline: float) -> None:
        """Have experiments come and go for long."""
        name = next(name for name in _SOAKED if name in self._names)
        with self._box(name) as wreck:
            self._say(f"soak with {wreck.broker.name} and {wreck.shelf.name}")
            scene = Soak(wreck, Plan(self.seed, HOSTS, LEASE), say=self._say)
            scene.run(experiments, deadline)
            self.toll.add(scene.toll)

    def _has(self, service: str) -> bool:
        reason = absence(service)
        if reason:
            self._say(f"LEFT OUT: {service}: {reason}")
        return not reason

    @contextmanager
    def _box(self, name: str) -> Iterator[Wreck]:
        broker = self._makers[name]() if name != LOCAL else None
        shelf = self._shelf if name != LOCAL else None
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as root,
            Wreck(Path(root), broker, shelf, self._driver) as wreck,
        ):
            yield wreck


def main(argv: Sequence[str]) -> int:
    """Run, print the table, and say whether it is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=__doc__)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--experiments", type=int, default=60, help="of the soak")
    parser.add_argument("--minutes", type=float, default=9.0, help="at most, about")
    parser.add_argument("--brokers", default=",".join(BROKERS), help="any of %(default)s")
    parser.add_argument("--every-victim", action="store_true", help="also on servers")
    parser.add_argument("--only", choices=("named", "soak"), help="one of the two parts")
    parser.add_argument("--plan", type=int, metavar="N", help="print the soak's beginning; no more")
    chosen = parser.parse_args(argv)
    if chosen.plan:
        _print(*Plan(chosen.seed, HOSTS, LEASE).lines(chosen.plan))
        return 0
    began = time.monotonic()
    names = [name for name in BROKERS if name in chosen.brokers.split(",")]
    harness = Harness(chosen.seed, names, lambda text: _print(f"# {text}"))
    deadline = began + 60 * chosen.minutes - _END
    with harness.served():
        if chosen.only != "soak":
            harness.named(deadline, every_victim=chosen.every_victim)
        if chosen.only != "named":
            harness.soak(chosen.experiments, deadline)
    took = time.monotonic() - began
    _print("", f"seed {chosen.seed}, {took:.0f} s", "", *harness.toll.lines())
    return 0 if harness.toll.is_clean else 1


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
