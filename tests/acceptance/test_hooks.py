"""The operator's programs: asked before an experiment, told after it, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.box import Box, until

Json = dict[str, Any]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


def program(box: Box, name: str, script: str) -> str:
    """Write a program of the operator's."""
    path = box.root / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def told(file: Path) -> list[Json]:
    """Return the documents that a hook appended to a file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def said(box: Box, event: str) -> list[Json]:
    """Return what was logged under this name."""
    lines = [json.loads(line) for line in box.log().splitlines() if f'"{event}"' in line]
    return [line for line in lines if line["event"] == event]


def is_alive(pid: int) -> bool:
    """Tell whether a process is there, and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_both_hooks_get_the_facts_and_no_secret(box: Box) -> None:
    """As variables and on standard input; what they print is logged, masked.

    The one before sees nothing fetched yet, the one after finds the workspace as it was left.
    """
    before = program(
        box,
        "before",
        'env | sort > "$1.env"; cat >> "$1"; ls "$STUDIO_RUNNER_WORKSPACE/workspace" > "$1.ls"\n'
        'echo "seen $STUDIO_RUNNER_KEY, token $(cut -d= -f2 < "$1.token")"',
    )
    after = program(box, "after", 'ls "$STUDIO_RUNNER_WORKSPACE/workspace" > "$1.ls"; cat >> "$1"')
    (box.root / "one.token").write_text("TOKEN=ghp-of-the-experiment")
    daemon = box.start(
        "--hook-before",
        f"{before} '{box.root}/one'",
        "--hook-after",
        f"{after} {box.root}/two",
        variables={"STUDIO_RUNNER_WEB_TOKEN": "token-of-the-operator", "LC_HOOK": "yes"},
    )
    message = box.message("print('ran')", args=["--lr", "ghp-of-the-experiment"])
    message["config"]["env"] = {"GITHUB_TOKEN": "ghp-of-the-experiment"}
    key = box.publish(message)
    assert box.outcome(key)["cause"] == "completed"
    (last,) = until(lambda: told(box.root / "two") or None, "the hook", box.log)
    (first,) = told(box.root / "one")
    assert (first["key"], first["queue"], first["attempt"]) == (key, "local_test", 1)
    assert first["args"] == ["--lr", "***"]
    assert (first["env_names"], first["needs"]["cores"]) == (["GITHUB_TOKEN"], 1)
    assert {name: last[name] for name in ("key", "outcome", "cause", "exit_code", "settled")} == {
        "key": key,
        "outcome": "completed",
        "cause": "completed",
        "exit_code": 0,
        "settled": "acked",
    }
    variables = (box.root / "one.env").read_text()
    assert f"STUDIO_RUNNER_KEY={key}\n" in variables
    assert "STUDIO_RUNNER_NEEDS_CORES=1\n" in variables
    assert "LC_HOOK=yes\n" in variables
    assert "-of-the-" not in variables + json.dumps([first, last])
    assert (box.root / "one.ls").read_text() == ""
    assert "train.py" in (box.root / "two.ls").read_text()
    assert [one["said"] for one in said(box, "hook-before")] == [f"seen {key}, token ***"]
    assert box.drain(daemon) == 0
    box.wait_until_clean()
    assert box.complaints() == []


def test_a_hook_refuses_defers_and_lets_go(box: Box) -> None:
    """By its exit status. The sender reads the reason where results are; what waits costs nothing.

    A refused message is a dead letter, and may be queued again when the rules have changed.
    """
    hook = program(
        box,
        "hook",
        f'grep -q \'"filename": "train.py"\' || {{ echo "no such input"; exit 3; }}\n'
        f'case "$STUDIO_RUNNER_KEY" in\n'
        f"  bad*) echo looking; echo 'project acceptance may not run here'; exit 7;;\n"
        f"  late*) test -e {box.root}/now || exit 100;;\n"
        f"esac",
    )
    daemon = box.start("--hook-before", hook, "--hook-after", f"tee -a {box.root}/after")
    bad = box.publish(box.message("print('never')", key="bad_one"))
    late = box.publish(box.message("print('in the end')", key="late_one"))
    refused = box.outcome(bad)
    assert refused["cause"] == "refused-by-hook"
    output = box.output(bad)
    assert "refused-by-hook: project acceptance may not run here" in output
    assert "never" not in output
    (letter,) = until(
        lambda: [one for one in box.dead() if one.suffix != ".json"] or None, "burial", box.log
    )
    assert "may not run here" in box.reason(letter.name)
    until(lambda: any(e["cause"] == "deferred-by-hook" for e in box.settled()) or None, "later")
    (box.root / "now").touch()
    assert box.outcome(late)["cause"] == "completed"
    assert (box.claim(late) or {})["counted"] == 0
    until(lambda: len(told(box.root / "after")) == 2 or None, "both ends", box.log)
    assert {one["cause"] for one in told(box.root / "after")} == {"refused-by-hook", "completed"}
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def test_a_hook_that_is_missing_hangs_or_dies_burns_no_attempt(box: Box) -> None:
    """It is the host's trouble: said once, and all goes on as soon as the program can be run.

    What hung is ended with all that it started.
    """
    hook, pid = box.root / "hook", box.root / "pid"
    daemon = box.start("--hook-before", str(hook), "--hook-time", "1s")
    key = box.submit("print('ran')")

    def has_failed_for(why: str) -> None:
        until(
            lambda: any(why in one["trouble"] for one in said(box, "a hook cannot be run")) or None,
            why,
            box.log,
        )

    has_failed_for("cannot be run: No such file or directory")
    program(box, "draft", f"sleep 1000 & echo $! > {pid}; wait")
    (box.root / "draft").rename(hook)
    has_failed_for("did not end within 1s, so it was ended")
    until(lambda: None if is_alive(int(pid.read_text())) else True, "the end of its child", box.log)
    program(box, "draft", "kill -SEGV $$")
    (box.root / "draft").rename(hook)
    has_failed_for("died of SIGSEGV")
    program(box, "draft", "sleep 1000 & exit 0")
    (box.root / "draft").rename(hook)
    assert box.outcome(key)["cause"] == "completed"
    assert (box.claim(key) or {})["counted"] == 0
    assert box.dead() == []
    reports = [line for line in box.log().splitlines() if "nothing begins until it can be" in line]
    assert len(reports) == 1
    assert "--hook-before runs again" in box.log()
    assert box.drain(daemon) == 0
    assert box.complaints() == []


def test_cancelling_and_stopping_end_a_hook_at_once(box: Box) -> None:
    """The message is settled or given back as ever; nothing of the hook is left."""
    pid = box.root / "pid"
    hook = program(box, "hook", f"trap '' TERM; sleep 1000 & echo $! > {pid}; wait; sleep 1000")
    daemon = box.start("--hook-before", hook, "--hook-time", "10m")
    key = box.submit("print('never')")
    first = until(lambda: (pid.exists() and pid.read_text().strip()) or None, "the hook", box.log)
    database = box.root / "store" / "meta" / "experiments" / key
    database.write_text(json.dumps({**json.loads(database.read_text()), "status": "stopped"}))
    assert box.outcome(key)["cause"] == "cancelled"
    assert not is_alive(int(first))
    pid.unlink()
    box.submit("print('never')")
    second = until(lambda: (pid.exists() and pid.read_text().strip()) or None, "the hook", box.log)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining"' in box.log() or None, "the drain", box.log)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(90) == 0
    assert not is_alive(int(second))
    assert len(box.waiting()) == 1
    assert box.complaints() == []


def test_a_hook_that_is_told_of_an_end_holds_up_no_second_term(box: Box) -> None:
    """It may take long otherwise; the experiment was settled before it began."""
    hook = program(box, "hook", f"touch {box.root}/begun; sleep 1000")
    daemon = box.start("--hook-after", hook, "--hook-time", "10m")
    key = box.submit("print('ran')")
    until(lambda: (box.root / "begun").exists() or None, "the hook", box.log)
    assert box.outcome(key)["cause"] == "completed"
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining"' in box.log() or None, "the drain", box.log)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    assert "hook-after was ended" in box.log()
    assert box.waiting() == []
    assert box.complaints() == []


def test_a_failed_workspace_is_kept_found_and_removed_in_time(box: Box) -> None:
    """Where it lies is told in the news, by status and to the hook; only the daemon's user sees it.

    A restart keeps it for the rest of its time, one without the option removes it.
    """
    after = f"tee -a {box.root}/after"
    daemon = box.start("--keep-failed", "1h", "--hook-after", after)
    fails = "import pathlib\npathlib.Path('seen.txt').write_text('half')\nraise SystemExit(3)"
    good, bad = box.submit("print('fine')"), box.submit(fails)
    assert box.outcome(good)["cause"] == "completed"
    assert box.outcome(bad)["cause"] == "exit"
    until(lambda: len(told(box.root / "after")) == 2 or None, "both ends", box.log)
    (end,) = (one for one in told(box.root / "after") if one["key"] == bad)
    place = Path(end["kept"])
    assert place == Path(end["workspace"])
    assert (place / "workspace" / "seen.txt").read_text() == "half"
    assert (place / "workspace" / "train.py").exists()
    root = box.state / "work" / "kept"
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IMODE(place.stat().st_mode) == 0o700
    assert root.stat().st_uid == os.geteuid()
    assert f"its workspace is kept in {place}" in box.log()
    assert box.drain(daemon) == 0
    box.wait_until_clean()
    daemon = box.start("--keep-failed", "1h")
    assert box.outcome(box.submit("print('fine')"))["cause"] == "completed"
    assert place.exists()
    note = place.with_name(f"{place.name}.json")
    kept = json.loads(note.read_text())
    assert (kept["key"], kept["cause"], kept["bytes"] > 0) == (bad, "exit", True)
    (root / "half-removed").mkdir()
    note.write_text(json.dumps({**kept, "ended": time.time() - 3601}))
    until(lambda: None if place.exists() else True, "the end of its time", box.log)
    assert box.drain(daemon) == 0
    daemon = box.start()
    until(lambda: None if list(root.iterdir()) else True, "an empty place", box.log)
    assert box.drain(daemon) == 0
    assert box.complaints() == []
