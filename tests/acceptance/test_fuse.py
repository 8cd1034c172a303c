"""A machine that fails everybody, with the real daemon: it stops, says so, and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.box import PATIENCE, Box, Json, until

ALWAYS = ("--fuse", "3", "--max-attempts", "100", "--retry-delay", "1s")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def command(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of the commands."""
    return subprocess.run(
        [sys.executable, "-m", "runner", *words, "--state-dir", str(box.state)],
        check=False,
        env=box.environ(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def status(box: Box) -> Json:
    """Return what ``status`` knows of the daemon."""
    found: Json = json.loads(command(box, "status", "--json").stdout)["daemon"]
    return found


def page(box: Box, path: str) -> tuple[int, str]:
    """Ask the listener."""
    log = box.log()
    lines = [json.loads(line) for line in log.splitlines() if '"listening for monitoring"' in line]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(lines[-1]["url"] + path, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def shown(box: Box, line: str) -> None:
    """Wait for this line of the metrics: their page is made once a second."""
    until(lambda: line in page(box, "/metrics")[1].splitlines() or None, line, box.log)


def news(box: Box, kind: str) -> list[Json]:
    """Return the lines of news of this kind."""
    lines = [json.loads(line) for line in box.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("news") == kind]


def test_a_machine_that_fails_everybody_takes_nothing_more_until_it_is_mended(box: Box) -> None:
    """No workspace can be made; every channel tells, and when one can be made, all goes on."""
    box.start(*ALWAYS)
    assert box.outcome(box.submit("print('well')"))["cause"] == "completed"
    box.wait_until_clean()
    place = box.state / "work" / "experiments"
    place.rmdir()
    place.write_text("in the way")
    keys = [box.submit("print('mended')", project=f"p{number % 2}") for number in range(3)]
    until(lambda: news(box, "fuse-blown") or None, "the fuse", box.log)
    found = status(box)
    assert found["suspended_by"] == ["the host fuse"]
    assert found["fuse"] == "3 experiments of 2 projects failed in a row: host-fault"
    assert "The host fuse has blown: 3 experiments" in command(box, "status").stdout
    assert page(box, "/readyz") == (503, "suspended by the host fuse\n")
    assert page(box, "/healthz")[0] == 200
    shown(box, "runner_fuse_blown 1.0")
    assert command(box, "resume").returncode == 1  # it is not the operator who objects
    until(lambda: len(news(box, "fuse-blown")) == 2 or None, "a probe", box.log)
    assert (
        "a probe experiment fails: no workspace can be made" in news(box, "fuse-blown")[1]["event"]
    )
    place.unlink()
    command(box, "resume")
    for key in keys:
        assert box.outcome(key)["cause"] == "completed"
    assert [line["event"] for line in news(box, "recovered")] == [
        "a probe experiment has passed: claiming again"
    ]
    shown(box, "runner_fuse_blown 0.0")
    box.wait_until_clean()
    assert box.complaints() == []


def test_one_project_cannot_stop_a_machine(box: Box) -> None:
    """Whatever it sends: here, what no installer finds."""
    box.start(*ALWAYS)
    bad = [
        box.submit("print('never')", pythonenv=["no such thing at all=="], project="one")
        for _ in range(5)
    ]
    for key in bad:
        box.ended(key)
    key = box.submit("print('here')", project="other")
    assert box.outcome(key)["cause"] == "completed"
    assert news(box, "fuse-blown") == []
