"""A project directory, a store and a queue root of its own for each test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from tests.own_places import stand_in


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
    stand_in(tmp_path, monkeypatch)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path, capsys)
