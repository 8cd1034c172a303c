"""The real StudioML client in a home of its own: its commands, and its API, each in a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.box import NOTHING, Json
from tests.services import STUDIOML_44

#: Far more than a command of the client's takes.
PATIENCE = 120.0
#: Over RabbitMQ one submission of ten is never acknowledged, and says so (client.md section 7).
_TRIES = 3

_CONFIG = """
database: {database}
storage: {storage}
cloud: {{queue: {queues}}}
env: {{GREETING: hello}}
saveMetricsFrequency: 1m
saveWorkspaceFrequency: 1m
verbose: error
resources_needed: {{cpus: 1, ram: 256m, hdd: 2g, gpus: 0}}
sleep_time: 1
"""
#: Every question to the API begins so; ``database`` is what the client calls its provider.
_QUESTION = """
import json, os, sys
from studio import model
key = {key!r}
os.makedirs(os.path.expanduser("~/.studioml/experiments/" + key), exist_ok=True)
with model.get_db_provider(model.get_config()) as database:
    experiment = database.get_experiment(key)
    print(json.dumps({what}), file=sys.__stdout__)
"""
#: Where the client puts an artifact when it is asked for it.
_FETCHED = "database.get_artifact(experiment.artifacts[{label!r}])"


class StudioClient:
    """One user of the client: a home with a configuration, and a directory to submit from."""

    def __init__(
        self,
        root: Path,
        queue: str,
        *,
        store: Json,
        queues: Json | None = None,
        variables: Mapping[str, str] = NOTHING,
        more: str = "",
    ) -> None:
        """``store``: type, endpoint and keys, for database and storage alike."""
        self.queue = queue
        self.home, self.project = root / "home", root / "project"
        self.project.mkdir(parents=True)
        (self.home / ".studioml").mkdir(parents=True)
        places = {"HOME": str(self.home), "TMPDIR": str(self.home)}  # it leaves files in both
        self._variables = {**variables, **places, "STUDIOML_DUMMY_MODE": "1"}
        # Two buckets: the client keeps its objects and its artifacts apart.
        database = {**store, "bucket": f"meta{queue.replace('_', '-')}", "authentication": "none"}
        storage = {**store, "bucket": f"storage{queue.replace('_', '-')}"}
        self.config = _CONFIG.format(
            database=json.dumps(database), storage=json.dumps(storage), queues=json.dumps(queues)
        )
        self.config += more
        (self.home / ".studioml" / "config.yaml").write_text(self.config)

    def write(self, name: str, text: str) -> None:
        """Put a file into the directory that becomes the workspace."""
        path = self.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def submit(self, *words: str, key: str = "") -> str:
        """Submit by ``studio-run``, which is told the key; ``words`` are its own and the script."""
        named = [f"--experiment={key}"] if key else []
        command = ["studio-run", "--force-git", f"--queue={self.queue}", *named, *words]
        for _ in range(_TRIES):
            done = self._run(command)
            if done.returncode == 0:
                return key
        raise AssertionError(done.stdout + done.stderr)

    def say(self, *words: str) -> None:
        """Say something to ``studio-runs``."""
        done = self._run(["studio-runs", *words])
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    def ask(self, key: str, what: str) -> Any:
        """Evaluate an expression over ``database`` and ``experiment``, the client's own objects."""
        done = self.python("-c", _QUESTION.format(key=key, what=what))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def read(self, key: str, label: str) -> str:
        """Return the one file of an artifact, fetched by the client."""
        path = Path(self.ask(key, _FETCHED.format(label=label)))
        assert path.is_file(), f"the client made of {label} what is no file: {path}"
        return path.read_text()

    def status(self, key: str) -> str:
        """Return the experiment's status, as the client reads it."""
        return str(self.ask(key, "experiment.status"))

    def python(
        self, *words: str, old: bool = False, patience: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run the client's Python; ``old``: of the last release with a completion service."""
        python = STUDIOML_44 if old else _command("python")
        return self._process([str(python), *words], patience)

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        name, *words = command
        # By its Python: the first line of the command may name a path with a space.
        return self._process([str(_command("python")), str(_command(name)), *words])

    def _process(
        self, command: Sequence[str], patience: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.project,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **_kept(), **self._variables},
            check=False,
            capture_output=True,
            text=True,
            timeout=patience,
        )


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ}


def _command(name: str) -> Path:
    client = shutil.which("studio-run")
    assert client is not None
    return Path(client).with_name(name)
