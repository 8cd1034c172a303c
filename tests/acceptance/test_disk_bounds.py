"""Experiments and builds that write more than they may: ended by name, and nobody else suffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.box import Box, until
from tests.environments import packages

MB = 10**6
BOUND = 64 * MB
#: What a script writes at most, if nobody ends it: the disk of who tests is not endless.
MOST = 3000 * MB
#: Writes as fast as it can, and notes outside what it has written by when.
WRITER = (
    "import os, time\n"
    "note = open({note!r}, 'w', buffering=1)\n"
    "with open('ballast', 'wb', buffering=0) as file:\n"
    "    while file.tell() < {most}:\n"
    "        file.write(bytes(1 << 20))\n"
    "        note.write(f'{{time.monotonic()}} {{file.tell()}}\\n')\n"
    "print('nobody minded')\n"
)
#: Seconds of writing that docs/isolation.md grants, and as many again for a busy machine.
GRANTED = 3.0 + 7.0


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def test_who_fills_its_disk_is_ended_and_told_why_while_its_neighbour_goes_on(box: Box) -> None:
    """The cause reaches output, claim record and history; it is final, and costs no retry.

    What was written beyond the bound is what can be written in the time that the manual grants.
    """
    go, note = box.root / "go", box.root / "written"
    box.start()
    neighbour = box.submit(
        "import pathlib, time\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
        "print('undisturbed')\n"
    )
    script = WRITER.format(note=str(note), most=MOST)
    key = box.submit(script, resources_needed=_needs("64mb"))
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("out-of-disk", 1)
    assert outcome["detail"].startswith("its workspace holds ")
    assert "it asked for 64 MB; the largest: workspace/ballast (" in outcome["detail"]
    output = box.output(key)
    assert f"studio-runner: out-of-disk: {outcome['detail']}" in output
    assert "Ask for more in resources_needed.hdd" in output
    assert "nobody minded" not in output
    ended = box.ended(key)
    assert (ended["cause"], ended["settled"]) == ("out-of-disk", "acked")
    _check_overshoot(note)
    go.touch()
    assert box.outcome(neighbour)["cause"] == "completed"
    box.wait_until_clean()
    assert box.complaints() == []


def test_a_run_that_a_new_daemon_takes_over_is_watched_like_any_other(box: Box) -> None:
    """Its bound is in its record."""
    go = box.root / "go"
    first = box.start()
    key = box.submit(
        "import pathlib, time\n"
        "print('here', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
        + WRITER.format(note=str(box.root / "written"), most=MOST),
        resources_needed=_needs("64mb"),
    )
    until(lambda: "here" in box.live_output() or None, "the start", box.log)
    box.kill(first)
    box.start()
    until(lambda: "adopted" in box.log() or None, "the adoption", box.log)
    go.touch()
    outcome = box.outcome(key)
    assert outcome["cause"] == "out-of-disk"
    assert "it asked for 64 MB" in outcome["detail"]
    assert box.complaints() == []


def test_a_build_that_fills_the_disk_is_ended_and_the_requirements_are_named(box: Box) -> None:
    """Neither daemon nor neighbour notices, and nothing of it stays."""
    shelf = box.root / "shelf"
    code = f"with open('ballast', 'wb') as file:\n    for _ in range({MOST // MB}):\n"
    code += "        file.write(bytes(10**6))\nraise SystemExit('nobody minded')\n"
    packages.source(shelf, "greedy", code=code)
    options = ("--no-index", "--find-links", str(shelf), "--max-environment-size", "50mb")
    box.start(*options)
    key = box.submit("print('never')", pythonenv=["greedy==1.0"])
    assert box.outcome(key)["cause"] == "requirements"
    detail = box.outcome(key)["detail"]
    assert detail.startswith("the build of its environment holds "), detail
    assert "it may use 50 MB; the largest: " in detail
    assert "nobody minded" not in box.output(key)
    well = box.submit("print('here')")
    assert box.outcome(well)["cause"] == "completed"
    box.wait_until_clean()
    staging = box.state / "environments" / "staging"
    until(lambda: not any(staging.iterdir()) or None, "a clean staging directory", box.log)
    assert box.complaints() == []


#: Forks as often as it can, up to what no machine minds, and says how far it came.
FORKS = """\
import os, time
count = 0
try:
    while count < 3000:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        count += 1
except OSError as error:
    raise SystemExit(f"after {count}: {error}")
time.sleep(600)
"""


@pytest.mark.parametrize("enforce", ["auto", "measure"])
def test_a_build_that_forks_without_end_is_ended_and_nobody_else(box: Box, enforce: str) -> None:
    """By the same bound as an experiment; all that it started is gone."""
    shelf = box.root / "shelf"
    packages.source(shelf, "rabbits", code=FORKS)
    box.start(
        *("--no-index", "--find-links", str(shelf)),
        *("--enforce", enforce, "--pids-limit", "100"),
    )
    key = box.submit("print('never')", pythonenv=["rabbits==1.0"])
    outcome = box.outcome(key)
    assert outcome["cause"] == "requirements"
    assert "the build of its environment used more than 100 processes" in outcome["detail"]
    assert box.outcome(box.submit("print('here')"))["cause"] == "completed"
    box.wait_until_clean()
    assert leftover_builds() == []
    assert box.complaints() == []


@pytest.mark.parametrize("enforce", ["auto", "measure"])
def test_a_build_that_takes_all_memory_is_ended_and_nobody_else(box: Box, enforce: str) -> None:
    """It may have what the machine gives to all experiments, and no more."""
    shelf = box.root / "shelf"
    code = "hoard = []\nfor _ in range(40):\n    hoard.append(b'x' * (50 << 20))\n"
    code += "    import time; time.sleep(0.2)\nraise SystemExit('nobody minded')"
    packages.source(shelf, "hoarder", code=code)
    box.start(
        *("--no-index", "--find-links", str(shelf)),
        *("--enforce", enforce, "--max-mem", "600mb"),
    )
    key = box.submit("print('never')", pythonenv=["hoarder==1.0"])
    outcome = box.outcome(key)
    assert outcome["cause"] == "requirements"
    assert "the build of its environment used more than 600 MB of memory" in outcome["detail"]
    assert box.outcome(box.submit("print('here')"))["cause"] == "completed"
    assert box.complaints() == []


def leftover_builds() -> list[str]:
    """Return the command lines of processes that a build of this test has left."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if b"rabbits" in (place / "cmdline").read_bytes():
                found.append(place.name)
    return found


def _needs(disk: str) -> dict[str, object]:
    return {"cpus": 1, "gpus": 0, "ram": "512m", "hdd": disk}


def _check_overshoot(note: Path) -> None:
    """See that no more was written than the writer could write in the time that is granted."""
    lines = [line.split() for line in note.read_text().splitlines()]
    seen = [(float(when), int(size)) for when, size in (line for line in lines if len(line) == 2)]
    most = max(
        max((s for w, s in seen if w <= when + GRANTED), default=0) - size for when, size in seen
    )
    assert seen[-1][1] <= BOUND + most
    assert seen[-1][1] < MOST
