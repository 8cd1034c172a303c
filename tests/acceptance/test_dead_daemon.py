"""What is known of a daemon that was killed, and what becomes of a message that kills daemons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runner.lifecycle.disposition import RetryPolicy
from tests.acceptance.box import PATIENCE, Box, Json, until

LONG = "import time; print('begun', flush=True); time.sleep(1000)"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def status(box: Box, *words: str) -> str:
    """Return what ``status`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "runner", "status", "--state-dir", str(box.state), *words],
        check=True,
        env=box.environ(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout


def test_status_tells_what_a_killed_daemon_left(box: Box) -> None:
    """The run that goes on, and what had ended; asking changes nothing of it."""
    daemon = box.start()
    ended = box.submit("print('x')")
    box.outcome(ended)
    key = box.submit(LONG)
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    until(lambda: len(box.settled()) == 1 or None, "the first", box.log)
    box.kill(daemon)
    before = {path: path.read_bytes() for path in box.state.glob("runs/*/*.json")}
    found: Json = json.loads(status(box, "--json"))
    assert found["daemon"] is None
    assert [(one["key"], one["phase"], one["attempt"]) for one in found["running"]] == [
        (key, "running", 1)
    ]
    assert [(one["key"], one["cause"]) for one in found["recent"]] == [(ended, "completed")]
    text = status(box)
    assert "No daemon listens" in text
    assert f"{key}\tlocal_test\t1\trunning" in text
    assert {path: path.read_bytes() for path in box.state.glob("runs/*/*.json")} == before
    # Small: what grows is the experiment's, and lies elsewhere.
    assert sum(map(len, before.values())) < 64 << 10


def test_a_message_that_kills_every_daemon_is_buried(box: Box) -> None:
    """Three died of it, so that it is believed to be its doing; what came after it goes on."""
    message = box.message("print('never')")
    key = str(message["experiment"]["key"])
    name = box.publish_message(message)
    archive = next((box.storage / "blobstore").iterdir())
    archive.unlink()
    # Whoever reads it waits, and is killed then: as by an archive that eats all memory.
    os.mkfifo(archive)
    known = set[Path]()
    for _ in range(RetryPolicy().max_attempts):
        daemon = box.start("--lease", "2s")
        known |= until(partial(claimed, box, known), "its claim", box.log)
        box.kill(daemon)
    daemon = box.start("--lease", "2s")
    assert "the daemon died while it was made ready" in box.reason(name)
    assert box.outcome(key)["cause"] == "host-fault"
    other = box.submit("print('behind it')")
    assert box.outcome(other)["cause"] == "completed"
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def claimed(box: Box, known: set[Path]) -> set[Path] | None:
    """Return records of runs whose artifacts are fetched, but for those that are known."""
    found = set(box.state.glob("runs/*/record.json")) - known
    return {file for file in found if json.loads(file.read_text())["workspace"]} or None


def test_a_dead_letter_tells_what_was_printed_last(box: Box) -> None:
    """Beside the reason, to whoever looks at it; without what is secret."""
    script = (
        "import os, time\n"
        "for number in range(100):\n"
        "    print('line', number)\n"
        "print('token is', os.environ['API_TOKEN'], flush=True)\n"
        "time.sleep(1000)\n"
    )
    message = box.message(script)
    message["config"]["env"] = {"API_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz0123"}
    message["config"]["runner"] = {"max_attempts": 1}
    name = box.publish_message(message)
    box.start()
    until(lambda: "token is" in box.live_output() or None, "the run", box.log)
    (file,) = box.state.glob("runs/*/supervisor.json")
    os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)
    reason = box.reason(name)
    assert reason.startswith("host-fault after 1 attempts: ")
    why, _, output = reason.partition("\n\nlast output:\n")
    assert "\n" not in why
    assert "line 99\n" in output
    assert "line 50\n" not in output
    assert "token is ***" in output
    assert "hf_abc" not in reason
