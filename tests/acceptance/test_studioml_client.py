"""The real StudioML client submits, unchanged, and finds its results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.privacy import making
from tests.acceptance.box import Box, until
from tests.privacy.sealing import laid_out

pytestmark = [pytest.mark.service("studioml"), pytest.mark.service("pypi")]

#: A client as its documentation sets it up, with a store on this machine.
_CONFIG = """
database: {{type: local, endpoint: {store}, bucket: meta, authentication: none}}
storage: {{type: local, endpoint: {store}, bucket: storage}}
env: {{GREETING: hello}}
saveMetricsFrequency: 1m
saveWorkspaceFrequency: 1m
verbose: debug
resources_needed: {{cpus: 1, ram: 256m, hdd: 2g, gpus: 0}}
sleep_time: 1
"""
_SCRIPT = """
import os, sys
import numpy
print(sys.argv[1:], numpy.__name__, os.environ["GREETING"])
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine whose queue root is the client's own queue directory."""
    with Box(tmp_path) as box:
        yield box


@pytest.mark.timeout(400)
def test_what_the_client_submits_runs_as_it_was_written(box: Box) -> None:
    """Arguments, frozen requirements, variables, output and status: all as the client expects."""
    home = box.root / "home"
    (home / ".studioml").mkdir(parents=True)
    config = _CONFIG.format(store=box.root / "store")
    (home / ".studioml" / "config.yaml").write_text(config)
    project = box.root / "project"
    project.mkdir()
    (project / "train.py").write_text(_SCRIPT)
    _submit(project, home, "train.py", "--alpha=1", "two words")
    (body,) = (home / ".studioml" / "queue" / "local_mine").glob("*-*")
    key = json.loads(body.read_bytes())["experiment"]["key"]
    box.start(
        "--queue-root",
        str(home / ".studioml" / "queue"),
        "--default-python",
        "",
    )
    assert box.outcome(key, patience=300)["cause"] == "completed"
    assert "['--alpha=1', 'two words'] numpy hello\n" in box.output(key)
    status = box.root / "store" / "meta" / "experiments" / key
    until(lambda: json.loads(status.read_text())["status"] == "finished" or None, "finished")


@pytest.mark.timeout(400)
def test_what_the_client_seals_and_signs_is_run(box: Box) -> None:
    """With the keys that ``keys generate`` makes, named in the client's own configuration."""
    home, keys = box.root / "home", laid_out(box.root / "keys", "local_mine")
    (home / ".studioml").mkdir(parents=True)
    client = keys / making.CLIENT
    config = _CONFIG.format(store=box.root / "store")
    config += f"public_key_path: {client / making.SEALING_KEY}\n"
    config += f"signing_key_path: {client / making.SIGNING_KEY}\n"
    (home / ".studioml" / "config.yaml").write_text(config)
    project = box.root / "project"
    project.mkdir()
    (project / "train.py").write_text("import sys\nprint('sealed', sys.argv[1:])\n")
    _submit(project, home, "train.py", "--alpha=1")
    queues = home / ".studioml" / "queue"
    (body,) = (queues / "local_mine").glob("*-*")
    assert set(json.loads(body.read_bytes())) == {"message"}
    (status,) = (box.root / "store" / "meta" / "experiments").iterdir()
    box.start(
        *("--queue-root", str(queues), "--encrypt-dir", str(keys / making.MESSAGE)),
        *("--request-signatures-dir", str(keys / making.SIGNING), "--default-python", ""),
    )
    assert box.outcome(status.name, patience=300)["cause"] == "completed"
    assert "sealed ['--alpha=1']\n" in box.output(status.name)


def _submit(project: Path, home: Path, *words: str) -> None:
    client = shutil.which("studio-run")
    assert client is not None
    python = Path(client).with_name("python")  # its first line may name a path with a space
    subprocess.run(
        [python, client, "--force-git", "--queue=local_mine", *words],
        cwd=project,
        env={**os.environ, "HOME": str(home), "STUDIOML_DUMMY_MODE": "1"},
        check=True,
        capture_output=True,
        timeout=120,
    )
