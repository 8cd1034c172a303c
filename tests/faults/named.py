"""Kills each victim at each named moment of an experiment's life, with one broker and store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.acceptance.box import PATIENCE, until
from tests.faults import leftovers
from tests.faults.plan import BOTH, DAEMON, SUPERVISOR
from tests.faults.toll import Toll
from tests.faults.wreck import CACHE_SIZE, MOMENTS, Wreck

#: Long enough for whoever looks every 20 ms to see it run.
_SECONDS = 0.5


@dataclass
class Named:
    """One box with its daemon, and its experiments of which the end is not known yet."""

    wreck: Wreck
    chance: random.Random
    toll: Toll = field(default_factory=Toll)
    say: Callable[[str], None] = lambda _: None
    _daemon: subprocess.Popen[bytes] | None = None
    _keys: list[str] = field(default_factory=list)

    def inject(self, faults: list[tuple[str, str]], deadline: float = float("inf")) -> None:
        """Kill each victim when its moment has come; then see that nothing is left."""
        self._restart()
        for done, (name, victim) in enumerate(faults):
            if time.monotonic() > deadline:
                self.say(f"LEFT OUT: {len(faults) - done} faults: there is no time left")
                break
            self.say(f"{self.wreck.broker.name}, {self.wreck.shelf.name}: {victim} when {name}")
            try:
                self._one(name, victim)
            except AssertionError as error:
                self.toll.trouble(f"{victim} when {name}", error)
                self._restart()
            self._see_through()
        self._end()

    def _one(self, name: str, victim: str) -> None:
        key = self._submit()
        end = time.monotonic() + PATIENCE
        while not MOMENTS[name](self.wreck, key):
            assert time.monotonic() < end, "the moment did not come"
            if self.wreck.is_over(key):  # we were not looking when it was
                key = self._submit()
        self._kill(victim)

    def _submit(self) -> str:
        key = self.wreck.send("ok", self.chance, seconds=_SECONDS)
        self._keys.append(key)
        self.toll.experiments_accepted += 1
        return key

    def _kill(self, victim: str) -> None:
        self.toll.injected(victim)
        if victim in {DAEMON, BOTH}:
            assert self._daemon is not None
            self.wreck.kill(self._daemon)
        if victim in {SUPERVISOR, BOTH}:
            for pid in self.wreck.supervisors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if victim in {DAEMON, BOTH}:
            self._restart()

    def _restart(self) -> None:
        if self._daemon is not None and self._daemon.poll() is None:
            self.wreck.kill(self._daemon)
        began = time.monotonic()
        self._daemon = self.wreck.ready()
        if self.toll.faults_injected:
            self.toll.recovered(time.monotonic() - began)

    def _see_through(self) -> None:
        keys, self._keys = self._keys, []
        for key in keys:
            times: list[str] = []
            try:
                self.wreck.outcome(key)
                fault, times = self.wreck.fault(key), self.wreck.times(key)
            except AssertionError as error:
                fault = str(error).splitlines()[0]
            if "beside another" in times:  # there is one host, which cannot have been away
                fault = fault or "two attempts ran at a time"
            self.toll.ended(key, fault, times)
        with suppress(AssertionError):  # what is left is named at the end
            until(lambda: self.wreck.records() == [] or None, "no record")

    def _end(self) -> None:
        assert self._daemon is not None
        with suppress(AssertionError):
            self.wreck.wait_until_empty()
        self.toll.left(leftovers.too_large(self.wreck.root, CACHE_SIZE))
        if self.wreck.drain(self._daemon) != 0:
            self.toll.trouble("the end", "the last daemon did not end well")
        with suppress(AssertionError):
            until(lambda: self.wreck.processes() == [] or None, "no process", patience=10)
        self.toll.left(self.wreck.left())
        self.toll.troubles += self.wreck.complaints()
