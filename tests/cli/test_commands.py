"""The other commands, and the command line as such."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.cli import COMMANDS
from runner.control.server import ControlServer
from runner.lifecycle.history import Ending, History
from runner.lifecycle.runs.record import Phase, Records
from tests.cli.conftest import Desk
from tests.lifecycle.records import a_record

Item = dict[str, Any]


def test_the_help_names_every_command(desk: Desk) -> None:
    """``studio-runner``, ``help`` and ``--help`` say what there is and how to begin."""
    for argv in ([], ["help"], ["--help"], ["-h"]):
        status, out, _ = desk.run(*argv)
        assert status == 0
        assert all(f"  {name} " in out for name in COMMANDS)
        assert "studio-runner submit" in out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_explains_itself(desk: Desk, name: str) -> None:
    """``COMMAND --help`` and ``help COMMAND`` print usage and options, and exit with 0."""
    status, out, _ = desk.run(name, "--help")
    assert status == 0
    assert f"usage: studio-runner {name}" in out
    assert desk.run("help", name)[1] == out


def test_a_command_explains_what_is_its_own_first(desk: Desk) -> None:
    """The settings that it shares with the daemon stand below."""
    text = desk.run("submit", "--help")[1]
    titles = ["options:", "The experiment:", "Where to, and then:", "Stores:", "Queues:"]
    assert sorted(titles, key=text.index) == titles


@pytest.mark.parametrize(("name", "missing"), [("queue", "ACTION"), ("fetch", "KEY")])
def test_what_may_be_left_out_is_not_asked_for(desk: Desk, name: str, missing: str) -> None:
    """Words that may be none are not among those that are required."""
    status, _, err = desk.run(name)
    assert (status, err.rstrip().rpartition(": ")[2]) == (2, missing)


def test_an_unknown_command_is_named_with_the_closest(desk: Desk) -> None:
    """Exit status 2 and one sentence."""
    status, _, err = desk.run("statsu")
    assert status == 2
    assert err == "studio-runner: there is no command 'statsu'; did you mean status?\n"


def test_the_help_needs_no_heavy_import() -> None:
    """``--help`` and ``--version`` load none of the libraries of the commands."""
    code = (
        "import sys, runner.cli; runner.cli.main(['--help']); runner.cli.main(['--version']);"
        "sys.exit(bool({'anyio', 'structlog', 'configargparse', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_config_prints_values_and_origins(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option with value and origin; secrets as stars, passwords in addresses masked."""
    monkeypatch.setenv("SLACK_HOOK", "https://hooks.example/very-secret")
    status, out, err = desk.run(
        "config", "--json", "--max-mem", "16gib", "--index-url", "https://u:hunter22@host/simple"
    )
    values = json.loads(out)
    assert status == 0
    assert values["max-mem"] == {"value": "16gib", "origin": "flag --max-mem"}
    assert values["slack-hook"] == {"value": "***", "origin": "environment variable SLACK_HOOK"}
    assert values["index-url"]["value"] == "https://u:***@host/simple"
    assert values["min-free-disk"] == {"value": "5%,5gib", "origin": "default"}
    assert values["grace-period"]["value"] == "10m"
    assert "very-secret" not in out + err


def test_config_is_a_table_of_tabs_in_a_pipe(desk: Desk) -> None:
    """Without --json each option is one line."""
    _, out, _ = desk.run("config", "--lease=90s")
    assert "lease\t1m30s\tflag --lease" in out.splitlines()


def test_status_without_a_daemon_reads_the_disk(desk: Desk) -> None:
    """What the last daemon left: runs without a keeper, and what ended."""
    state = desk.root / "state"
    Records(state / "runs").write(a_record("r1", key="k1", phase=Phase.RUNNING))
    (state / "runs" / "r2").mkdir()
    (state / "runs" / "r2" / "record.json").write_text("{")
    ending = Ending("k0", "local_default", "", 1, "exit", 3, "it exited", "acked", 5.0, 2.0)
    History(state / "recent.jsonl").add(ending)
    status, out, _ = desk.run("status", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["daemon"] is None
    assert [one["key"] for one in found["running"]] == ["k1", ""]
    assert [one["cause"] for one in found["recent"]] == ["exit"]
    text = desk.run("status")[1]
    assert "No daemon listens" in text
    assert "k0\t1\texit\t3" in text


def test_status_without_a_daemon_knows_of_the_end_of_a_run(desk: Desk) -> None:
    """Its supervisor wrote it beside the record, which nobody was there to change."""
    records = Records(desk.root / "state" / "runs")
    records.write(a_record("r1", phase=Phase.RUNNING))
    records.write(a_record("r2", phase=Phase.RUNNING))
    (records.place("r2") / "exit.json").write_text("{}")
    found = json.loads(desk.run("status", "--json")[1])
    assert [one["phase"] for one in found["running"]] == ["running", "finishing"]


async def _command(*argv: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "runner", *argv]
    done = await anyio.run_process(command, check=False)
    return done.returncode, done.stdout.decode()


@pytest.mark.anyio
async def test_commands_ask_the_daemon(desk: Desk) -> None:
    """status, logs and cancel speak to whoever listens on the control socket."""

    async def status(_: Item) -> AsyncIterator[Item]:
        capacity = {"cores": 4, "memory": 2**30, "disk": 2**40, "gpus": ["GPU-1"]}
        queues = [{"name": "local_q", "broker": "local", "waiting": 3}]
        daemon = {"pid": 1, "started": 0, "draining": True, "capacity": capacity, "free": capacity}
        daemon["why_no_gpus"] = "--cpu-only is set"
        daemon["gpus"] = [
            {"name": "L4", "uuid": "GPU-1", "withheld": "it is\tlost"},
            {"name": "T4"},
        ]
        running = [{"key": "k\x1b[2J", "queue": "local_q", "attempt": 1, "phase": "running"}]
        yield {"daemon": daemon | {"queues": queues}, "running": running, "recent": []}

    async def logs(arguments: Item) -> AsyncIterator[Item]:
        yield {"attempt": 1, "stage": "running"}
        yield {"text": f"{arguments['key']} {arguments['follow']}\n"}

    async def cancel(arguments: Item) -> AsyncIterator[Item]:
        yield {"cancelled": arguments["key"] == "k1", "reason": "nothing of that key"}

    path = desk.root / "state" / "control.sock"
    path.parent.mkdir()
    handlers = {"status": status, "logs": logs, "cancel": cancel}
    async with anyio.create_task_group() as group:
        await group.start(ControlServer(path, handlers).serve)
        code, text = await _command("status")
        assert code == 0
        assert "draining" in text
        assert "local_q\tlocal\t3" in text
        assert "No GPU is given out: --cpu-only is set\n" in text
        assert "card\tuuid\twhy\nL4\tGPU-1\tit is\\tlost\nqueue" in text
        assert "\x1b" not in text
        assert json.loads((await _command("status", "--json"))[1])["daemon"]["pid"] == 1
        assert await _command("logs", "k1") == (0, "k1 False\n")
        assert await _command("logs", "-f", "k1") == (0, "k1 True\n")
        assert (await _command("cancel", "k1"))[0] == 0
        assert (await _command("cancel", "k2"))[0] == 1
        group.cancel_scope.cancel()


def test_a_reader_that_has_seen_enough_is_no_traceback(desk: Desk) -> None:
    """``studio-runner config | head -1`` ends without a word."""
    assert Path.cwd().is_relative_to(desk.root)
    command = ["/bin/sh", "-c", '"$0" -m runner config | head -1', sys.executable]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.stdout == b"option\tvalue\torigin\n"
    assert done.stderr == b""
