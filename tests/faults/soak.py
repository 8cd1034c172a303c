"""Several daemons on one queue, many experiments, and a fault every few seconds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tests.acceptance.box import until
from tests.faults import leftovers
from tests.faults.hosts import Host
from tests.faults.kinds import LOSES
from tests.faults.plan import BROKER, STORE, Fault, Plan
from tests.faults.toll import Toll
from tests.faults.wreck import CACHE_SIZE, Wreck

#: Experiments that are under way together, for each host.
_DEPTH = 4
#: Without any end for so long, nothing more will come.
_PATIENCE = 180.0
#: Seconds between two looks at all that is under way.
_LOOK = 0.5
#: Seconds until the first fault may come: hosts have to start.
_FIRST = 5.0
#: A host fault, of which there are many, is no reason to give an experiment up.
_OPTIONS = (
    *("--max-attempts", "100", "--retry-delay", "1s", "--longest-retry-delay", "2s"),
    *("--checkpoint-default", "1s", "--kill-grace", "500ms"),
)


@dataclass
class _Sent:
    """An experiment of which an end is awaited, or which has one."""

    key: str
    #: What was found when it had ended.
    times: list[str] = field(default_factory=list)
    outcome: dict[str, Any] | None = None


@dataclass
class Soak:
    """A box, its hosts, and the plan."""

    wreck: Wreck
    plan: Plan
    toll: Toll = field(default_factory=Toll)
    say: Callable[[str], None] = lambda _: None
    _hosts: list[Host] = field(default_factory=list)
    _under_way: list[_Sent] = field(default_factory=list)
    _ended: list[_Sent] = field(default_factory=list)
    _is_all_sent: bool = False
    #: The broker or the store is away.
    _outage: threading.Thread | None = None

    def run(self, count: int, deadline: float) -> None:
        """Have so many experiments come and go under faults; none is sent after ``deadline``."""
        options = ("--lease", f"{self.plan.lease:g}s", *_OPTIONS)
        names = ["state", *(f"state-{number}" for number in range(1, self.plan.hosts))]
        self._hosts = [Host(self.wreck, name, options) for name in names]
        try:
            self._storm(count, deadline)
        finally:
            self._calm()
        self._end()

    def _storm(self, count: int, deadline: float) -> None:
        faults = self._faults()
        next(faults)
        sender = self._sender(count, deadline)
        next(sender)
        look, last = 0.0, time.monotonic()
        while self._under_way or not self._is_all_sent:
            now = time.monotonic()
            if now - last > _PATIENCE:
                self.toll.trouble("soak", f"no end of anything within {_PATIENCE:.0f} s")
                return
            time.sleep(0.02)
            self._tend(now)
            faults.send(now)
            if self._is_away():
                last = now  # nobody can be asked
                continue
            sender.send(now)
            if now >= look:
                last = now if self._looked() else last
                look = now + _LOOK

    def _sender(self, count: int, deadline: float) -> Generator[None, float, None]:
        """Send the next experiment, where there is a place for it, each time the time is told."""
        chance = random.Random(f"contents {self.plan.seed}")  # noqa: S311 - the same every time
        for kind, seconds in islice(self.plan.experiments(), count):
            now = yield
            while len(self._under_way) >= _DEPTH * len(self._hosts) and now < deadline:
                now = yield
            if now >= deadline:
                break
            self._under_way.append(_Sent(self.wreck.send(kind, chance, seconds=seconds)))
            self.toll.experiments_accepted += 1
        self._is_all_sent = True
        while True:
            yield

    # ------------------------------------------------------------------ faults

    def _faults(self) -> Generator[None, float, None]:
        """Inject the next fault, where it is due, each time the time is told."""
        due = (yield) + _FIRST
        for fault in self.plan.faults():
            now = yield
            while now < due + fault.after:
                if self._is_away() or not any(host.is_serving for host in self._hosts):
                    due = now  # on a slow machine, too, there is some peace
                now = yield
            self._inject(fault, now)
            due = now

    def _tend(self, now: float) -> None:
        for host in self._hosts:
            took = host.tend(now)
            if took is not None and self.toll.faults_injected:
                self.toll.recovered(took)

    def _inject(self, fault: Fault, now: float) -> None:
        if fault.act in {BROKER, STORE}:
            thing = self.wreck.broker if fault.act == BROKER else self.wreck.shelf
            is_done = thing.name != "local" and not self._is_away()
            if is_done:
                self._outage = threading.Thread(target=_away, args=(thing.outage(), fault.down))
                self._outage.start()
        else:
            is_done = self._hosts[fault.host].hit(fault, now)
        if is_done:
            self.toll.injected(fault.act)
        ended, sent = len(self._ended), self.toll.experiments_accepted
        note = "" if is_done else " (already down)"
        self.say(f"{ended} of {sent} ended; {fault}{note}")

    def _is_away(self) -> bool:
        return self._outage is not None and self._outage.is_alive()

    # ------------------------------------------------------------------ ends

    def _looked(self) -> bool:
        """Note what has ended; tell whether anything has."""
        for sent in self._under_way:
            if self.wreck.kinds[sent.key] == LOSES:
                self.wreck.lose_supervisor(sent.key)
        ended = [sent for sent in self._under_way if self._note(sent)]
        self._under_way = [sent for sent in self._under_way if sent not in ended]
        self._ended += ended
        return bool(ended)

    def _note(self, sent: _Sent) -> bool:
        record = self.wreck.claim(sent.key)
        if record is None or record["state"] != "ended":
            return False
        sent.outcome, sent.times = record["outcome"], self.wreck.times(sent.key)
        return True

    def _calm(self) -> None:
        """Bring back whatever is away."""
        if self._outage is not None:
            self._outage.join()
        for host in self._hosts:
            host.wake()

    def _end(self) -> None:
        """Have every host up once more; then drain them all, and count."""
        with suppress(AssertionError):
            until(self._is_quiet, "all at rest", patience=120)
        self.toll.left(leftovers.too_large(self.wreck.root, CACHE_SIZE))
        for host in self._hosts:
            if host.daemon is not None and self.wreck.drain(host.daemon) != 0:
                self.toll.trouble(host.state, "its last daemon did not end well")
        with suppress(AssertionError):
            until(lambda: self.wreck.processes() == [] or None, "no process", patience=10)
        for sent in (*self._ended, *self._under_way):
            times = self.wreck.times(sent.key)
            self.toll.ended(sent.key, self._fault(sent, times), times)
        self.toll.left(self.wreck.left())
        self.toll.troubles += self.wreck.complaints()

    def _is_quiet(self) -> bool | None:
        self._tend(time.monotonic())
        is_up = all(host.is_serving for host in self._hosts)
        return (is_up and not self.wreck.records() and not self.wreck.broker.left()) or None

    def _fault(self, sent: _Sent, times: list[str]) -> str:
        """Say what is wrong with it, long after its end."""
        fault = self.wreck.fault(sent.key)
        if fault or sent.outcome is None:
            return fault or "its end was not seen in time"
        record = self.wreck.claim(sent.key)
        assert record is not None
        if record["outcome"] != sent.outcome:
            return f"it ended twice: {sent.outcome}, then {record['outcome']}"
        return "it was begun again after its end" if times != sent.times else ""


def _away(outage: AbstractContextManager[None], seconds: float) -> None:
    with outage:
        time.sleep(seconds)
