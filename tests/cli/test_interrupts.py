"""``submit`` and ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import Desk

_COUNT = 3000


@pytest.mark.usefixtures("desk")
def test_an_interrupted_sweep_has_what_was_queued(desk: Desk) -> None:
    """Whole messages alone, each in the sweep; nothing else is; and somebody is told how many."""
    grid = ["--grid", f"x={','.join(map(str, range(_COUNT)))}", "--grid-limit", str(_COUNT)]
    command = [sys.executable, "-m", "runner", "submit", *grid, "--sweep", "s", "train.py"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while process.poll() is None and len(list(desk.queue.glob("*"))) < 5:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    keys = {message["experiment"]["key"] for message in desk.messages()}
    assert 5 <= len(keys) < _COUNT
    assert (process.returncode, out) == (130, "")
    assert f"only {len(keys)} of {_COUNT} were queued, up to s-" in err
    assert "Traceback" not in err
    listed = json.loads((desk.store / "storage/listings/sweeps/s.json").read_text())
    assert {one["key"] for one in listed["experiments"]} == keys
    records = desk.store / "studioml-meta/experiments"
    assert {file.name for file in records.iterdir()} == keys


def test_an_interrupted_wait_says_how_to_go_on(desk: Desk) -> None:
    """What is said can be copied: it has the key, and the store where one was named."""
    store = desk.root / "a store"
    store.mkdir()
    argv = ["submit", "--store", str(store), "--key", "k1", "--wait", "train.py"]
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", *argv], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting for a runner" in line:
            break
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"studio-runner logs -f k1 --store '{store}', studio-runner cancel k1 --store" in err
