"""Daemons on a machine that is said to be large, and experiments that wait: for recovery's figures.

Fifty runs do not fit on the cores of a small machine. These only wait, so each daemon here is told
of sixty-four cores; everything else about it is real.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.control.protocol import parse_answer, request_line
from tests.acceptance.box import NOTHING, Box, until

Json = dict[str, Any]
CORES = 64
_PRETENCE = f"import os\nos.sched_getaffinity = lambda _: set(range({CORES}))\n"
_SMALL = {"cpus": 1, "gpus": 0, "ram": "64m", "hdd": "16m"}
_SCRIPT = """
import os
file = os.open({begun!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(file, {line!r})
os.close(file)
open({end!r}).read()
"""


class Scene:
    """A box with several daemons, and experiments that end when they are let go."""

    def __init__(self, box: Box, variables: Mapping[str, str] = NOTHING, *options: str) -> None:
        """``options`` and ``variables`` are those of every daemon."""
        self.box = box
        self._options = ("--max-cores", str(CORES), *options)
        pretence = box.root / "pretence"
        pretence.mkdir()
        (pretence / "sitecustomize.py").write_text(_PRETENCE)
        self._variables = {**variables, "PYTHONPATH": str(pretence)}
        self._begun, self._end = box.root / "begun", box.root / "end"
        self._begun.touch()
        os.mkfifo(self._end)

    def start(self, state: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a daemon and return at once."""
        return self.box.start(*self._options, *options, state=state, variables=self._variables)

    def experiment(self, cpus: int = 1) -> Json:
        """Return the message of an experiment that says when it begins, and then waits."""
        message = self.box.message("")
        key = message["experiment"]["key"]
        line = f"{key}\n".encode()
        script = _SCRIPT.format(begun=str(self._begun), line=line, end=str(self._end))
        return self.box.message(script, key=key, resources_needed={**_SMALL, "cpus": cpus})

    def begun(self) -> list[str]:
        """Return the key of each start of an experiment, of which there should be one each."""
        return self._begun.read_text().split()

    def let_go(self, count: int) -> None:
        """Let the experiments end as soon as so many have begun."""
        until(lambda: len(self.begun()) >= count or None, "all to have begun", self.box.log)
        writer = os.open(self._end, os.O_RDWR)  # waits for nobody, and whoever reads gets it
        time.sleep(1)
        os.close(writer)

    def socket(self, state: str) -> Path:
        """Return where a daemon listens."""
        return self.box.root / state / "control.sock"

    def claimed_by(self, key: str, state: str) -> bool:
        """Tell whether the experiment is with this daemon now."""
        record = self.box.claim(key)
        owner = (self.box.root / state / "owner").read_text().strip() if record else ""
        return bool(record and record["state"] == "running" and record["owner"]["daemon"] == owner)

    def lose(self, daemon: subprocess.Popen[bytes], state: str) -> None:
        """Kill a daemon, its supervisors and their runs, as when their machine is switched off."""
        mine = re.compile(re.escape(str(self.box.root / state).encode()) + rb"[/\0]")
        daemon.kill()
        for place in Path("/proc").iterdir():
            with suppress(OSError):
                if place.name.isdigit() and int(place.name) != os.getpid():
                    known = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
                    if mine.search(known):
                        os.kill(int(place.name), signal.SIGKILL)
        daemon.wait()


def answer(path: Path, verb: str) -> Json | None:
    """Return what the daemon there says; ``None`` while nobody listens."""
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError, ValueError):
        line.settimeout(10)
        line.connect(str(path))
        line.sendall(request_line(verb, {}))
        said = line.makefile("rb").readline()
        found = parse_answer(said.strip()) if said else None
        return found if isinstance(found, dict) else None
    return None


def running(path: Path) -> int:
    """Count the runs that the daemon there looks after."""
    said = answer(path, "status")
    return sum(one["phase"] == "running" for one in said["running"]) if said else -1


def seconds_until(is_so: Callable[[], bool], since: float, what: str) -> float:
    """Return how long after ``since`` it is so, to 5 ms."""
    end = time.perf_counter() + 120
    while not is_so():
        if time.perf_counter() > end:
            raise RuntimeError(f"not within two minutes: {what}")
        time.sleep(0.005)
    return time.perf_counter() - since
