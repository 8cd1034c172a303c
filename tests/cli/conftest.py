"""A project directory, a store and a queue root of its own for each test."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main


@dataclass(frozen=True)
class Desk:
    """Where one person works, with nothing of anybody else's."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def store(self) -> Path:
        """The local store."""
        return self.root / "store"

    @property
    def queue(self) -> Path:
        """The default queue's directory."""
        return self.root / "queues" / "local_default"

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Run a command; return exit status, stdout and stderr."""
        self.capsys.readouterr()
        try:
            status = main(argv)
        except SystemExit as ended:  # --help
            status = int(ended.code or 0)
        out, err = self.capsys.readouterr()
        return status, out, err

    def messages(self) -> list[dict[str, Any]]:
        """Return what waits in the default queue."""
        files = [file for file in self.queue.iterdir() if file.is_file()]
        return [json.loads(file.read_bytes()) for file in files]


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """Stand in a project with one script and one requirement."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("print('hello')\n")
    (project / "requirements.txt").write_text("attrs==23.2.0  # a comment\n")
    monkeypatch.chdir(project)
    for name, place in {
        "HOME": "home",
        "QUEUE_ROOT": "queues",
        "LOCAL_STORE_ROOT": "store",
        "STATE_DIR": "state",
        "CERTS_DIR": "certs",
    }.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "STUDIO_RUNNER_CONFIG", "CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "PUBSUB_", "AMQP_")):
            monkeypatch.delenv(name)
    return Desk(tmp_path, capsys)
