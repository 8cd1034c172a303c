"""Twenty trivial experiments by StudioML's own Python worker and by this runner, messages alike.

The worker is ``studio-local-worker`` of studioml 0.0.44.post6, the last release that is whole, in a
virtual environment of its own below ``.make``, which is made if it is not there (that takes the
package index, and some minutes). Both take from a local queue and store into directories; both have
run one experiment before, so that what either installs is installed, and rest: the runner compiles
what it installed beside the first one. Seconds per experiment are those between the first and the
last ``time_finished`` in the client's database.

Run ``PYTHONPATH=. python benchmarks/python_worker.py``; takes about two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.acceptance.box import Box, until
from tests.services import STUDIOML_44

EXPERIMENTS = 20
#: Seconds of a processor.
_NEXT_TO_NOTHING = 0.05
_PINS = ("studioml==0.0.49", "urllib3<2", "requests-toolbelt<1")
_WHOLE = "studioml==0.0.44.post6"
_CONFIG = """
database: {{type: local, endpoint: {store}, bucket: meta, authentication: none}}
storage: {{type: local, endpoint: {store}, bucket: storage}}
saveMetricsFrequency: 1m
saveWorkspaceFrequency: 1m
verbose: error
resources_needed: {{cpus: 1, ram: 256m, hdd: 2g, gpus: 0}}
sleep_time: 1
"""
_SUBMIT = """
import sys
from studio import logs, model
from studio.experiment import create_experiment
from studio.experiment_submitter import submit_experiments
from studio.local_queue import LocalQueue
def artifacts():
    named = {"workspace": {"mutable": False, "local": sys.argv[2], "unpack": True}}
    for tag in ("output", "modeldir", "retval", "tb", "_metrics", "_metadata"):
        named[tag] = {"mutable": True, "local": "", "unpack": True}
    return named
needs = {"cpus": 1, "ram": "256m", "hdd": "2g", "gpus": 0}
config = model.get_config()
with model.get_db_provider(config):  # sets up what artifacts are stored by
    made = [
        create_experiment("hello.py", [], artifacts=artifacts(), resources_needed=needs)
        for _ in range(int(sys.argv[1]))
    ]
submit_experiments(made, config=config, logger=logs.getLogger("benchmark"), queue=LocalQueue())
print("\\n".join(one.key for one in made))
"""


class User:
    """One who submits by the client's API, and whose queue and store are directories."""

    def __init__(self, root: Path) -> None:
        self.home, self.store, self.project = (root / name for name in ("home", "store", "project"))
        self.queue = self.home / ".studioml" / "queue"
        for folder in (self.queue, self.store, self.project):
            folder.mkdir(parents=True, exist_ok=True)
        (self.project / "hello.py").write_text("print('hello')\n")
        (self.home / ".studioml" / "config.yaml").write_text(_CONFIG.format(store=self.store))

    def submit(self, count: int) -> list[str]:
        """Queue that many and return their keys."""
        words = ["-c", _SUBMIT, str(count), str(self.project)]
        return self.run(str(STUDIOML_44), *words).stdout.split()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of the client's commands, away from the directory that its worker replaces."""
        path = f"{STUDIOML_44.parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ}
        done = subprocess.run(
            words,
            cwd=self.home,
            env={"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", **kept},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{words[:2]} failed:\n{done.stderr[-4000:]}")
        return done

    def seconds_each(self, keys: Sequence[str]) -> float:
        """Return the time between two ends, on average."""
        ends = sorted(float(self.finished(key) or 0.0) for key in keys)
        return (ends[-1] - ends[0]) / (len(ends) - 1)

    def finished(self, key: str) -> float | None:
        """Return when an experiment ended; ``None`` before."""
        document = json.loads((self.store / "meta" / "experiments" / key).read_text())
        return document["time_finished"] if document["status"] == "finished" else None


def main() -> None:
    """Measure and print."""
    _provide()
    with tempfile.TemporaryDirectory() as directory:
        worker = _by_the_worker(Path(directory) / "worker")
        one = _by_the_runner(Path(directory) / "one", cores=1)
        all_ = _by_the_runner(Path(directory) / "all", cores=os.cpu_count() or 1)
    print(f"studio-local-worker 0.0.44.post6   {worker:7.3f} s for each experiment")
    print(f"studio-runner, one at a time       {one:7.3f} s   {worker / one:6.1f} times faster")
    print(f"studio-runner, on all cores        {all_:7.3f} s   {worker / all_:6.1f} times faster")


def _by_the_worker(root: Path) -> float:
    user = User(root)
    command = str(STUDIOML_44.with_name("studio-local-worker"))
    # By its Python: the first line of the command may name a path with a space.
    for count in (1, EXPERIMENTS):
        keys = user.submit(count)
        user.run(str(STUDIOML_44), command, "--timeout=3")
    return user.seconds_each(keys)


def _by_the_runner(root: Path, *, cores: int) -> float:
    user = User(root)
    with Box(root) as box:
        waiting = root / "waiting"
        waiting.mkdir()
        daemon = box.start("--max-cores", str(cores), "--default-python", "")
        for count in (1, EXPERIMENTS):
            keys = user.submit(count)
            for message in sorted(user.queue.glob("*-*"), key=lambda one: one.stat().st_mtime_ns):
                message.rename(box.queues / "local_test" / message.name)
            for key in keys:
                until(lambda key=key: user.finished(key), key, box.log, 600)  # type: ignore[misc]  # bound now
            _rest(daemon.pid)
        return user.seconds_each(keys)


def _rest(pid: int) -> None:
    """Wait until the daemon and what it started take next to nothing for a second."""
    while True:
        before = _spent(pid)
        time.sleep(1)
        if _spent(pid) - before < _NEXT_TO_NOTHING:
            return


def _spent(pid: int) -> float:
    daemon, spent = psutil.Process(pid), 0.0
    for process in (daemon, *daemon.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            spent += sum(process.cpu_times()[:2])
    return spent


def _provide() -> None:
    """Install the worker; its newer sibling says by its metadata what it needs, and by its pins."""
    if STUDIOML_44.exists():
        return
    place = STUDIOML_44.parents[1]
    pip = [str(STUDIOML_44), "-m", "pip", "install", "--quiet"]
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    subprocess.run([*pip, *_PINS], check=True)
    subprocess.run([*pip, "--no-deps", _WHOLE], check=True)


if __name__ == "__main__":
    main()
