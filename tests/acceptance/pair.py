"""Two real daemons that share a queue and a store, each with a state directory of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.accounts import Account
from tests.acceptance.box import Box, Json, until

#: Says everywhere which daemon's run it is, and ends when the test says so.
WHO = """
import os, pathlib, time
me = os.getcwd()
print('begun', me, flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.02)
for label in ('modeldir', 'retval'):
    pathlib.Path('..', label, label).write_text(me)
print('done', me)
"""
T = TypeVar("T")
STATES = ("state", "other")


@dataclass
class Pair:
    """Daemons by the names of their state directories, ``state`` and ``other``."""

    box: Box
    account: Account
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def certs(self) -> Path:
        """The directory of credentials that both watch."""
        return self.box.root / "certs"

    def start(self, state: str, *options: str) -> None:
        """Start one of them, and wait until it takes from the queue."""
        starts = self._log(state).count("waiting for experiments")
        self.daemons[state] = self.box.start(
            *("--certs-dir", str(self.certs)),
            *("--queue-match", f"^{self.account.queue}"),
            *("--lease", "6s"),
            *("--max-cores", "1"),
            "--allow-file-artifacts",
            *options,
            state=state,
            variables=self.account.variables,
        )
        self.sees(state, "waiting for experiments", starts + 1)

    def send(self, script: str = WHO, *, times: int = 1, **fields: Any) -> str:
        """Send one experiment, as often as is wished; return its key.

        ``fields`` go into ``experiment``.
        """
        message = self.box.message(script.format(go=str(self.box.root / "go")), **fields)
        key = str(message["experiment"]["key"])
        status = self.box.root / "store" / "meta" / "experiments" / key
        status.write_text(json.dumps(message["experiment"]))
        for _ in range(times):
            self.account.send(json.dumps(message))
        return key

    def go(self) -> None:
        """Have the experiments end."""
        (self.box.root / "go").touch()

    @contextmanager
    def suspended(self, state: str) -> Iterator[None]:
        """Stop a daemon's process where it is, as a hypervisor or a debugger does."""
        daemon = self.daemons[state]
        daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            daemon.send_signal(signal.SIGCONT)

    # ------------------------------------------------------------------ what is seen

    def sees(self, state: str, text: str, times: int = 1, *, or_else: str = "\0") -> None:
        """Wait until a daemon's log says it so often, or something else."""

        def is_said() -> bool | None:
            log = self._log(state)
            return log.count(text) >= times or or_else in log or None

        self.until(is_said, text)

    def kept(self, state: str) -> bool | None:
        """Tell whether a daemon kept a message for whoever worked on its experiment."""
        return "kept for who works on it" in self._log(state) or None

    def begun(self, *states: str) -> str:
        """Wait until a run has begun with one of the daemons; return with which."""

        def where() -> str | None:
            return next((one for one in states if "begun" in self._output(one)), None)

        return self.until(where, "a run")

    def endings(self, *states: str) -> list[tuple[str, str]]:
        """Return cause and settling of what has ended with these daemons, or with both."""
        return [(e["cause"], e["settled"]) for one in states or STATES for e in self._recent(one)]

    def phases(self, state: str) -> list[str]:
        """Return the phases of what a daemon has on its disk."""
        found = []
        for file in (self.box.root / state / "runs").glob("*/record.json"):
            with suppress(FileNotFoundError):  # settled in this moment
                found.append(json.loads(file.read_text())["phase"])
        return found

    def check_published(self, key: str, state: str) -> None:
        """See that all that is stored of an experiment is of one daemon's one run.

        Only what an earlier attempt printed may stand before it, as far as that was stored.
        """
        printed = self.box.output(key).rpartition("--- studio-runner: attempt ")[2]
        output = [line.split() for line in printed.splitlines()]
        done = [words[1] for words in output if words[:1] == ["done"]]
        assert len(done) == 1
        assert done[0].startswith(f"{self.box.root / state}/")
        for label in ("modeldir", "retval"):
            stored = self.box.stored(key, label, label if label == "modeldir" else None)
            assert stored.decode() == done[0]

    def stored(self, key: str) -> dict[str, tuple[int, int]]:
        """Return size and time of all files that the local store has of an experiment."""
        found = (self.box.storage / "experiments" / key).iterdir()
        return {one.name: (one.stat().st_size, one.stat().st_mtime_ns) for one in found}

    def check_clean(self) -> None:
        """See that no message is left, nor anything here, and that nobody complains."""
        for state in STATES:
            places = [self.box.root / state / one for one in ("runs", "work/experiments")]

            def is_clean(places: list[Path] = places) -> bool | None:
                return not any(one.exists() and any(one.iterdir()) for one in places) or None

            self.until(is_clean, f"{state} clean")
        for daemon in self.daemons.values():
            self.box.drain(daemon)
        # Neither visible, nor held by anybody who would keep it from being so.
        assert self.account.waiting() == 0
        signs = ("Traceback", "a defect of the runner", "trouble beside the experiments")
        assert [
            line
            for one in STATES
            for line in self._log(one).splitlines()
            if any(sign in line for sign in signs)
        ] == []

    def until(self, found: Callable[[], T | None], what: str) -> T:
        """Wait until ``found`` gives something; else show both logs."""
        return until(found, what, lambda: "\n---\n".join(self._log(one)[-4000:] for one in STATES))

    def _log(self, state: str) -> str:
        file = self.box.root / f"{state}.log"
        return file.read_text() if file.exists() else ""

    def _recent(self, state: str) -> list[Json]:
        file = self.box.root / state / "recent.jsonl"
        whole = file.read_text().rpartition("\n")[0] if file.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    def _output(self, state: str) -> str:
        logs = (self.box.root / state / "work" / "experiments").glob("*/output/output")
        return "".join(path.read_text(errors="replace") for path in logs)
