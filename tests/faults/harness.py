"""Kills daemons, supervisors, and both, at each named moment and then at random ones; counts.

::

    python -m tests.faults.harness --seed 8 --faults 100 --minutes 9

First every moment of ``wreck.MOMENTS`` with every victim, then faults at moments that the seed
chooses while several experiments are under way, until there were so many, or the time is over.
Ends with 1 where anything was lost or left. On local queues and local stores.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.acceptance.box import PATIENCE, until
from tests.faults.toll import Toll
from tests.faults.wreck import MOMENTS, Moment, Wreck

#: Faults in one box: a log of everything since the beginning would have to be read each time.
_IN_ONE_BOX = 40
#: Random moments: experiments that are under way together, and seconds until the kill.
_TOGETHER, _LONGEST_PEACE = 4, 1.2
#: Long enough for whoever looks every 20 ms to see it run.
_WORK = "time.sleep(0.5)"
DAEMON, SUPERVISOR, BOTH = "daemon", "supervisor", "both"
VICTIMS = (DAEMON, SUPERVISOR, BOTH)


@dataclass
class Harness:
    """One box after another, and what they cost."""

    chance: random.Random
    toll: Toll = field(default_factory=Toll)
    say: Callable[[str], None] = lambda _: None

    def named(self, faults: Sequence[tuple[str, str]]) -> None:
        """Kill each victim at its moment, in a box of all these."""
        with self._box() as scene:
            for name, victim in faults:
                self.say(f"{victim} when {name}")
                self._guarded(partial(scene.one, MOMENTS[name], victim), name, scene)

    def at_random(self, count: int, until_then: float) -> int:
        """Kill at any moment; return how often, the clock ends it at ``until_then``."""
        done = 0
        with self._box() as scene:
            while done < count and time.monotonic() < until_then:
                self.say(f"random fault {done + 1}")
                self._guarded(partial(scene.several, self.chance), "a random moment", scene)
                done += 1
        return done

    def _guarded(self, act: Callable[[], None], where: str, scene: Scene) -> None:
        try:
            act()
        except AssertionError as error:
            self.toll.troubles.append(f"{where}: {str(error).splitlines()[0][:300]}")
            scene.restart()

    @contextmanager
    def _box(self) -> Iterator[Scene]:
        with tempfile.TemporaryDirectory(prefix="faults-") as root, Wreck(Path(root)) as wreck:
            scene = Scene(wreck, self.toll)
            scene.restart()
            yield scene
            scene.end()


@dataclass
class Scene:
    """One box with its daemon, and its experiments of which the end is not known yet."""

    wreck: Wreck
    toll: Toll
    daemon: subprocess.Popen[bytes] | None = None
    keys: list[str] = field(default_factory=list)

    def one(self, moment: Moment, victim: str) -> None:
        """Have one experiment come so far, kill, and see it through."""
        key = self._submit()
        end = time.monotonic() + PATIENCE
        while not moment(self.wreck, key):
            assert time.monotonic() < end, "the moment did not come"
            if self.wreck.is_over(key):  # we were not looking when it was
                key = self._submit()
        self._kill(victim)
        self._see_through()

    def several(self, chance: random.Random) -> None:
        """Have some experiments under way, kill whomever at any time, and see them through."""
        for _ in range(chance.randint(1, _TOGETHER)):
            self._submit()
        time.sleep(chance.uniform(0.0, _LONGEST_PEACE))
        self._kill(chance.choice(VICTIMS))
        self._see_through()

    def restart(self) -> None:
        """Start a daemon, and note how long it takes until it serves."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.wreck.kill(self.daemon)
        began = time.monotonic()
        self.daemon = self.wreck.ready()
        if self.toll.faults_injected:
            self.toll.recovered(time.monotonic() - began)

    def end(self) -> None:
        """Drain, and count what is left of all of it."""
        assert self.daemon is not None
        if self.wreck.drain(self.daemon) != 0:
            self.toll.troubles.append("the last daemon did not end well")
        with suppress(AssertionError):
            until(lambda: self.wreck.processes() == [] or None, "no process", patience=10)
        left = [str(pid) for pid in self.wreck.processes()]
        for pattern in ("state/runs/*", "state/work/experiments/*"):
            left += map(str, self.wreck.root.glob(pattern))
        left += map(str, self.wreck.root.glob("queues/.studio-runner/*/claims/*"))
        left += [*map(str, self.wreck.dead()), *self.wreck.waiting()]
        self.toll.leftovers += len(left)
        self.toll.troubles += [f"left: {one}" for one in left] + self.wreck.complaints()

    # ------------------------------------------------------------------ how

    def _submit(self) -> str:
        key = self.wreck.experiment(_WORK)
        self.keys.append(key)
        self.toll.experiments_accepted += 1
        return key

    def _kill(self, victim: str) -> None:
        self.toll.faults_injected += 1
        if victim in {DAEMON, BOTH}:
            assert self.daemon is not None
            self.wreck.kill(self.daemon)
        if victim in {SUPERVISOR, BOTH}:
            for pid in self.wreck.supervisors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if victim in {DAEMON, BOTH}:
            self.restart()

    def _see_through(self) -> None:
        keys, self.keys = self.keys, []
        for key in keys:
            try:
                self._check(key)
            except AssertionError as error:
                self.toll.lost += 1
                self.toll.troubles.append(f"{key}: {str(error).splitlines()[0][:300]}")
            else:
                self.toll.completed += 1
        until(lambda: self.wreck.records() == [] or None, "no record", self.wreck.log)

    def _check(self, key: str) -> None:
        outcome = self.wreck.outcome(key)
        assert outcome["cause"] == "completed", f"it ended with {outcome}"
        times = self.wreck.times(key)
        assert set(times) == {"ran"}, f"two attempts at a time: {times}"
        assert len(times) <= outcome["attempt"], f"{len(times)} runs, {outcome['attempt']} attempts"
        lines = self.wreck.output(key).splitlines()
        assert lines[-2:] == ["first line", "last line"], f"the output ends with {lines[-2:]}"
        self.toll.run_twice += len(times) > 1


def run(seed: int, faults: int, minutes: float, say: Callable[[str], None]) -> Toll:
    """Inject so many faults within so much time; the named ones come first."""
    harness = Harness(random.Random(seed), say=say)  # noqa: S311 - the same ones every time
    end = time.monotonic() + 60 * minutes
    named = list(itertools.product(MOMENTS, VICTIMS))[:faults]
    harness.chance.shuffle(named)
    for begin in range(0, len(named), _IN_ONE_BOX):
        harness.named(named[begin : begin + _IN_ONE_BOX])
    left = faults - len(named)
    while left > 0 and time.monotonic() < end:
        left -= harness.at_random(min(left, _IN_ONE_BOX), end)
    return harness.toll


def main(argv: Sequence[str]) -> int:
    """Run, print the table, and say whether it is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.harness", description=__doc__)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=9.0)
    chosen = parser.parse_args(argv)
    began = time.monotonic()
    toll = run(chosen.seed, chosen.faults, chosen.minutes, lambda text: _print(f"# {text}"))
    _print("", f"seed {chosen.seed}, {time.monotonic() - began:.0f} s", "", *toll.lines())
    return 0 if toll.is_clean else 1


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
