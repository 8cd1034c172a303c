"""However an experiment dies, its owner is told why and what to do, wherever he looks."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.lifecycle.causes import advice
from runner.model import Cause
from tests.acceptance.box import Box, Json, until
from tests.servers.nvml import Card, Nvml
from tests.servers.web import Reply, WebServer

#: Takes memory until somebody ends it.
EATS = """
def eat():
    held = []
    while len(held) < 60:
        held.append(bytearray(b"x" * (4 << 20)))
        time.sleep(0.01)
    time.sleep(20)
"""
CHILD = EATS + "pid = os.fork()\npid or eat()\nos.waitpid(pid, 0)\ntime.sleep(5)\nsys.exit(1)\n"
GRANDCHILD = (
    EATS + "pid = os.fork()\n"
    "if pid == 0:\n"
    "    below = os.fork()\n"
    "    below or eat()\n"
    "    os._exit(os.waitpid(below, 0)[1] != 0)\n"
    "os.waitpid(pid, 0)\ntime.sleep(5)\nsys.exit(1)\n"
)
WRITES = """
with open("../modeldir/large", "wb") as file:
    for _ in range(600):
        file.write(os.urandom(1 << 20))
        time.sleep(0.005)
time.sleep(20)
"""
TORCH = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."
LONG = "print('long', flush=True)\ntime.sleep(1000)"


@dataclass(frozen=True)
class Death:
    """How one dies, and what is said of it."""

    cause: Cause
    #: In the sentence of the cause.
    says: str
    script: str = ""
    #: Of the message's ``experiment``.
    fields: Json = field(default_factory=dict)
    change: Callable[[Json], object] = lambda _: None


def _without_workspace(message: Json) -> None:
    message["experiment"]["artifacts"]["workspace"]["key"] += ".gone"
    message["experiment"]["artifacts"]["workspace"]["qualified"] += ".gone"


def _with_lifetime(message: Json) -> None:
    message["config"]["experimentLifetime"] = "4s"


GPU: Json = {"resources_needed": {"cpus": 1, "gpus": 1, "gpuCount": 1, "ram": "256m", "hdd": "64m"}}
DEATHS = {
    "exit 3": Death(Cause.EXIT, "it exited with 3", "sys.exit(3)"),
    "segfault": Death(Cause.SIGNAL, "it died of SIGSEGV: it", "ctypes.string_at(0)"),
    "abort": Death(Cause.SIGNAL, "it died of SIGABRT: it", "os.abort()"),
    "memory of a child": Death(Cause.OUT_OF_MEMORY, "256 MB", CHILD),
    "memory of a grandchild": Death(Cause.OUT_OF_MEMORY, "256 MB", GRANDCHILD),
    "disk": Death(Cause.OUT_OF_DISK, "asked for 64 MB", WRITES),
    "time limit": Death(Cause.TIME_LIMIT, "may run for 1s", LONG, {"max_duration": "1s"}),
    "lifetime": Death(Cause.LIFETIME, "lifetime", LONG, change=_with_lifetime),
    "requirements that do not install": Death(
        Cause.REQUIREMENTS, "no-such-package", "", {"pythonenv": ["no-such-package==1"]}
    ),
    "missing artifact": Death(Cause.ARTIFACT_MISSING, "workspace", "", change=_without_workspace),
    "CUDA out of memory": Death(
        Cause.GPU_OUT_OF_MEMORY, "CUDA out of memory", f"print({TORCH!r})\nsys.exit(1)", GPU
    ),
    "cancelled": Death(Cause.CANCELLED, "", LONG),
    "drained": Death(Cause.DRAINED, "", LONG),
}


#: What stands around those who die: by its name what the daemon is told, and what it takes.
SANDBOXES = {"plain": (), "bwrap": ("bwrap",), "apptainer": ("apptainer",)}


class Graveyard:
    """A daemon below which everybody has died, and what was said of each."""

    def __init__(self, box: Box, web: WebServer, nvml: Nvml, *sandbox: str) -> None:
        self.box = box
        self._web = web
        self._nvml = nvml
        self._sandbox = sandbox
        self.keys: dict[str, str] = {}

    def fill(self) -> None:
        """Let all die; the last two when they are told to."""
        box = self.box
        hook = f"http://127.0.0.1:{self._web.port}/hook"
        daemon = box.start(
            *("--webhook", hook, "--no-index", "--max-attempts", "1", *self._sandbox),
            variables=self._nvml.variables,
        )
        told = {"cancelled", "drained"}
        for name in DEATHS.keys() - told:
            self._submit(name)
        for name in DEATHS.keys() - told:
            box.ended(self.keys[name])
        self._submit("cancelled")
        until(lambda: "long" in box.live_output() or None, "a run", box.log)
        self._studio("cancel", self.keys["cancelled"])
        box.ended(self.keys["cancelled"])
        box.wait_until_clean()  # of its output, which is the next one's as well
        self._submit("drained")
        until(lambda: "long" in box.live_output() or None, "a run", box.log)
        daemon.send_signal(signal.SIGTERM)
        until(lambda: '"draining' in box.log() or None, "draining", box.log)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
        self.status = self._studio("status")

    def _submit(self, name: str) -> None:
        death = DEATHS[name]
        script = f"import ctypes, os, sys, time\n{death.script}"
        message = self.box.message(script, **death.fields)
        death.change(message)
        # Files of metadata are named by host, second and run: here each has a place of its own.
        message["config"]["storage"]["bucket"] = message["experiment"]["key"]
        self.keys[name] = self.box.publish(message)

    def _studio(self, *words: str) -> str:
        command = [sys.executable, "-m", "runner", *words, "--state-dir", str(self.box.state)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=self.box.environ()
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hooked(self, key: str) -> Json:
        """Return what the webhook was told of the end."""
        told: list[dict[str, Any]] = [json.loads(asked.body) for asked in self._web.asked]
        (end,) = [one for one in told if one["event"] == "ended" and _key(one) == key]
        return dict(end["result"])

    def logged(self, key: str) -> Json:
        """Return the line of the log that tells of the end."""
        lines = [json.loads(line) for line in self.box.log().splitlines()]
        (end,) = [one for one in lines if one.get("news") == "ended" and one.get("key") == key]
        return dict(end)

    def metadata(self, key: str) -> list[str]:
        """Return the messages of an experiment's metadata."""
        (place,) = (self.box.root / "store" / key / "metadata").glob("*")
        return [entry["msg"] for entry in json.loads(place.read_text())["studioml"]["log"]]


def _key(told: Json) -> str:
    return str((told.get("experiment") or {}).get("key"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.service(one) for one in services])
        for name, services in SANDBOXES.items()
    ],
)
def graveyard(nvml_library: Path, request: pytest.FixtureRequest) -> Iterator[Graveyard]:
    """Everybody has died, in each sandbox."""
    sandbox = ["--sandbox", request.param]
    if request.param == "apptainer":
        sandbox += ["--container", str(request.getfixturevalue("image"))]
    root = Path(tempfile.mkdtemp(prefix="studio-runner-", dir="/var/tmp"))
    web = WebServer(lambda _: Reply())
    nvml = Nvml(nvml_library, root / "cards")
    nvml.cards = [Card()]
    try:
        with web.serving(), Box(root) as box:
            found = Graveyard(box, web, nvml, *sandbox)
            found.fill()
            yield found
    finally:
        shutil.rmtree(root)


@pytest.mark.service("nvml")
@pytest.mark.parametrize("name", DEATHS)
def test_a_death_has_its_name_in_every_channel(graveyard: Graveyard, name: str) -> None:
    """One sentence of cause and one of remedy: output, status, reports and metadata."""
    death, key = DEATHS[name], graveyard.keys[name]
    cause, remedy = death.cause.value, advice(death.cause)
    ending = graveyard.box.ended(key)
    assert ending["cause"] == cause, ending
    detail = ending["detail"]
    assert death.says in detail

    output = graveyard.box.output(key)
    summary = f"studio-runner: {cause}: {detail}" if detail else f"studio-runner: {cause}"
    assert summary in output
    assert output.endswith(f"studio-runner: {remedy}\n")

    row = next(line for line in graveyard.status.splitlines() if line.startswith(key))
    assert cause in row.split("\t")
    assert row.endswith(f"\t{remedy}")

    told = graveyard.hooked(key)
    assert (told["cause"], told["detail"], told["advice"]) == (cause, detail, remedy)
    logged = graveyard.logged(key)
    assert (logged["cause"], logged["advice"]) == (cause, remedy)
    assert detail.partition("\n")[0] in logged["event"]

    written = graveyard.metadata(key)
    assert summary.splitlines()[0] in written
    assert written[-1] == f"studio-runner: {remedy}"
