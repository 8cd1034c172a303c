"""A container, or a machine, that is started anew on the state directory of the one before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import Box, Json, until

#: Process 1 of a pid namespace of its own, which ends with all that is in it.
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
#: Runs on when it is the second attempt.
TWICE = """
import pathlib, time
seen = pathlib.Path({seen!r})
if not seen.exists():
    seen.write_text('x')
    print('begun', flush=True)
    time.sleep(1000)
print('done')
"""


def needs_namespaces() -> None:
    """Skip where nobody may make one."""
    done = subprocess.run([*CONTAINER, "true"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no pid namespace of its own: {done.stderr.strip()}")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    needs_namespaces()
    with Box(tmp_path) as box:
        yield box


def contained(box: Box) -> subprocess.Popen[bytes]:
    """Start a daemon in a container; had it to wait for another attempt, it would be an hour."""
    return box.start("--retry-delay", "1h", "--longest-retry-delay", "1h", wrapper=CONTAINER)


def kill(box: Box, container: subprocess.Popen[bytes]) -> None:
    """Kill a container: its first process, and so all of them."""
    box.kill(container)
    until(lambda: not box.processes() or None, "the end of all processes", box.log)


def run_in(box: Box) -> str:
    """Have an experiment run in a container, and kill that; return its key."""
    key = box.submit(TWICE.format(seen=str(box.root / "seen")))
    container = contained(box)
    until(lambda: "begun" in box.live_output() or None, "the run", box.log)
    until(lambda: phases(box) == ["running"] or None, "its record", box.log)
    kill(box, container)
    return key


def phases(box: Box) -> list[str]:
    """Return the phases on the disk."""
    return [json.loads(file.read_text())["phase"] for file in box.state.glob("runs/*/record.json")]


def check_second_attempt(box: Box, key: str) -> None:
    """See that the first ended with its machine, and that the second followed at once."""
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 2)
    assert (box.claim(key) or {})["counted"] == 1
    output = box.output(key)
    assert "the machine or its container was restarted" in output
    assert output.index("begun") < output.index("attempt 1 ended with: host-fault")
    assert output.rstrip().endswith("done")
    box.wait_until_clean()
    assert box.complaints() == []


def test_a_container_that_is_started_anew_goes_on(box: Box) -> None:
    """What ran is recognised as dead, whatever has its pids now; its message comes back at once."""
    key = run_in(box)
    container = contained(box)
    check_second_attempt(box, key)
    kill(box, container)


def test_a_namespace_with_the_number_of_the_last_is_another(box: Box) -> None:
    """The kernel gives the number of one that has ended to the next."""
    key = run_in(box)
    (file,) = box.state.glob("runs/*/supervisor.json")
    record: Json = json.loads(file.read_text())
    number = os.fspath(Path("/proc/self/ns/pid").readlink())
    record["pid_namespace"] = number + record["pid_namespace"].partition("]")[2]
    file.write_text(json.dumps(record))
    box.start("--retry-delay", "1h", "--longest-retry-delay", "1h")
    check_second_attempt(box, key)


def test_a_machine_that_is_started_anew_goes_on(box: Box) -> None:
    """Another boot: the same, and what was only being made ready is there at once, too."""
    key = run_in(box)
    (file,) = box.state.glob("runs/*/supervisor.json")
    record: Json = json.loads(file.read_text())
    record["boot"] = "of an earlier boot"
    file.write_text(json.dumps(record))
    box.start("--retry-delay", "1h", "--longest-retry-delay", "1h")
    check_second_attempt(box, key)


def test_what_was_made_ready_when_its_container_died_begins_at_once(box: Box) -> None:
    """Whether it was to blame nobody knows; the first time it is not kept waiting for that."""
    message = box.message("print('done')")
    key = str(message["experiment"]["key"])
    box.publish_message(message)
    archive = next((box.storage / "blobstore").iterdir())
    whole = shutil.move(archive, box.root / "whole")
    os.mkfifo(archive)  # whoever reads it waits
    container = contained(box)
    until(lambda: (box.claim(key) or {}).get("state") == "running" or None, "a claim", box.log)
    kill(box, container)
    archive.unlink()
    shutil.move(whole, archive)
    container = contained(box)
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 2)
    assert (box.claim(key) or {})["counted"] == 1
    box.wait_until_clean()
    kill(box, container)
    assert box.complaints() == []
