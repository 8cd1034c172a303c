"""The control socket of the real daemon: status, logs, cancel, drain, detach."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.control.client import NoDaemon, ask
from tests.acceptance.box import PATIENCE, Box, until

pytestmark = pytest.mark.anyio

GO = """
import pathlib, time
print('begun', flush=True)
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
print('done')
"""
Json = dict[str, Any]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A machine of its own for every test."""
    with Box(tmp_path) as box:
        yield box


@pytest.fixture
def daemon(box: Box) -> subprocess.Popen[bytes]:
    """A daemon that answers."""
    daemon = box.start()
    until(lambda: (box.state / "control.sock").exists() or None, "the socket", box.log)
    return daemon


def script(box: Box) -> str:
    """Return a script that ends when the test says so."""
    return GO.format(go=str(box.root / "go"))


def go(box: Box) -> None:
    """Say so."""
    (box.root / "go").touch()


def answer(box: Box, verb: str, **arguments: Any) -> AsyncIterator[Json]:
    """Ask the daemon."""
    return ask(box.state / "control.sock", verb, **arguments)


async def one(box: Box, verb: str, **arguments: Any) -> Json:
    """Return the one item of an answer."""
    with anyio.fail_after(PATIENCE):
        (item,) = [item async for item in answer(box, verb, **arguments)]
    return item


async def until_it_runs(box: Box) -> None:
    """Wait until the script has begun, and the daemon has noted that it runs."""
    with anyio.fail_after(PATIENCE):
        while "begun" not in box.live_output() or runs(box)["phase"] != "running":  # noqa: ASYNC110 - another process
            await anyio.sleep(0.01)


def runs(box: Box) -> Json:
    """Return the one run record."""
    (file,) = (box.state / "runs").glob("*/record.json")
    return dict(json.loads(file.read_text()))


async def test_status_tells_what_runs_waits_and_ended(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """Capacity and what is free of it, queues with their depth, runs, and the latest endings."""
    first = box.submit("raise SystemExit(4)")
    box.outcome(first)
    box.wait_until_clean()
    needs = {"cpus": 2, "gpus": 0, "ram": "256m", "hdd": "64m"}
    key = box.submit(script(box), resources_needed=needs)
    await until_it_runs(box)
    box.submit("print('waits')")
    status = await one(box, "status")
    told = status["daemon"]
    assert (told["pid"], told["draining"]) == (daemon.pid, False)
    assert (told["capacity"]["cores"], told["free"]["cores"]) == (2, 0)
    (queue,) = told["queues"]
    assert {"name": "local_test", "broker": "local", "waiting": 1}.items() <= queue.items()
    assert (queue["claimed"], queue["why"], queue["running"]) == (False, "the machine is full", 1)
    (source,) = told["sources"]
    assert (source["broker"], source["state"], source["trouble"]) == ("local", "open", "")
    (running,) = status["running"]
    assert (running["key"], running["phase"], running["attempt"]) == (key, "running", 1)
    (ended,) = status["recent"]
    assert (ended["key"], ended["cause"], ended["settled"]) == (first, "exit", "acked")
    go(box)


async def test_logs_follow_a_run_to_its_last_line(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """What is printed arrives while it runs, and nothing of the end is lost."""
    assert daemon.poll() is None
    key = box.submit(script(box))
    await until_it_runs(box)
    with anyio.fail_after(PATIENCE):
        live = [item async for item in answer(box, "logs", key=key)]
        assert "".join(item.get("text", "") for item in live) == "begun\n"
        text = ""
        async with aclosing(answer(box, "logs", key=key, follow=True)) as items:  # type: ignore[type-var]
            async for item in items:
                text += item.get("text", "")
                if text == "begun\n":
                    go(box)
    assert text == "begun\ndone\n"
    assert [item async for item in answer(box, "logs", key="nobody")] == []


async def test_a_follower_that_goes_away_costs_nothing(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """The daemon goes on, and its file is closed."""
    key = box.submit(script(box))
    await until_it_runs(box)
    for _ in range(3):
        async with aclosing(answer(box, "logs", key=key, follow=True)) as items:  # type: ignore[type-var]
            await anext(items)

    def is_closed() -> bool | None:
        open_files = []
        for file in Path(f"/proc/{daemon.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                open_files.append(str(file.readlink()))
        return not any(path.endswith("output/output") for path in open_files) or None

    until(is_closed, "closed files", box.log)
    go(box)
    assert box.outcome(key)["cause"] == "completed"


async def test_cancel_ends_an_experiment_for_good(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """It is stopped, recorded as cancelled, and its message does not come back."""
    assert daemon.poll() is None
    key = box.submit(script(box))
    await until_it_runs(box)
    assert await one(box, "cancel", key=key) == {"cancelled": True, "reason": ""}
    assert box.outcome(key)["cause"] == "cancelled"
    box.wait_until_clean()
    assert box.waiting() == []
    again = await one(box, "cancel", key=key)
    assert again["cancelled"] is False
    assert key in again["reason"]


async def test_drain_waits_for_what_runs_unless_it_is_to_be_now(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """Runs are let end, however often it is asked; ``now`` gives them back, uncounted."""
    key = box.submit(script(box))
    await until_it_runs(box)
    assert await one(box, "drain") == {"draining": True, "running": 1}
    assert await one(box, "drain") == {"draining": True, "running": 1}
    assert (await one(box, "status"))["daemon"]["draining"] is True
    assert daemon.poll() is None
    await one(box, "drain", now=True)
    assert daemon.wait(PATIENCE) == 0
    record = box.claim(key)
    assert record is not None
    assert (record["state"], record["counted"]) == ("released", 0)
    assert len(box.waiting()) == 1
    with pytest.raises(NoDaemon):
        await one(box, "status")


async def command(box: Box, *words: str) -> tuple[int, str]:
    """Run a command of the client against the daemon; return its status and what it said."""
    whole = [sys.executable, "-m", "runner", *words, "--state-dir", str(box.state)]
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(
            whole, env=box.environ(), check=False, stderr=subprocess.STDOUT
        )
    return done.returncode, done.stdout.decode()


def test_a_signal_during_the_start_ends_it_in_order(box: Box) -> None:
    """No matter when it comes, the daemon ends by itself and not by the signal."""
    daemon = box.start()
    until(lambda: (box.state / "environments").exists() or None, "the beginning", box.log)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(PATIENCE) == 0
    assert box.complaints() == []


async def test_drain_and_detach_are_commands(box: Box, daemon: subprocess.Popen[bytes]) -> None:
    """They say what becomes of the runs; ``drain --wait`` returns when the daemon has ended."""
    key = box.submit(script(box))
    await until_it_runs(box)
    assert await command(box, "detach") == (
        0,
        "detached: the daemon ends and leaves 1 run to the next one\n",
    )
    assert daemon.wait(PATIENCE) == 0
    status, text = await command(box, "drain")
    assert (status, "no daemon listens" in text) == (1, True)
    second = box.start()
    until(lambda: (box.state / "control.sock").exists() or None, "the socket", box.log)
    status, text = await command(box, "drain")
    assert (status, "waits for 1 run\n" in text) == (0, True)
    whole = [sys.executable, "-m", "runner", "drain", "--wait", "--state-dir", str(box.state)]
    async with await anyio.open_process(whole, env=box.environ()) as waiting:
        assert waiting.stderr is not None
        assert await waiting.stderr.receive() == f"draining: waiting for 1 run: {key}\n".encode()
        go(box)
        assert await waiting.wait() == 0
    assert second.wait(PATIENCE) == 0
    assert box.outcome(key)["cause"] == "completed"


async def test_detach_leaves_runs_to_the_next_daemon(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """Gone while the run goes on, nothing settled; the next daemon adopts it."""
    key = box.submit(script(box))
    await until_it_runs(box)
    beat = (box.claim(key) or {})["beat"]
    assert await one(box, "detach") == {"detached": True, "running": 1}
    assert daemon.wait(PATIENCE) == 0
    record = box.claim(key)
    assert record is not None
    assert (record["state"], record["beat"]) == ("running", beat + 1)
    assert runs(box)["phase"] == "running"
    assert not (box.state / "control.sock").exists()
    assert box.waiting() == []
    second = box.start()
    go(box)
    outcome = box.outcome(key)
    assert (outcome["cause"], outcome["attempt"]) == ("completed", 1)
    assert box.output(key) == "begun\ndone\n"
    box.wait_until_clean()
    assert box.drain(second) == 0


async def test_detach_at_any_moment_counts_no_attempt(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """What is only being made ready is given back by the next daemon, at once and uncounted."""
    key = box.submit("print('ran')")
    until(lambda: box.claim(key), "the claim", box.log)
    await one(box, "detach")
    assert daemon.wait(PATIENCE) == 0
    box.start()
    outcome = box.outcome(key)
    record = box.claim(key)
    assert record is not None
    assert (outcome["cause"], record["counted"]) == ("completed", 0)
    assert box.output(key).splitlines()[-1] == "ran"


async def test_a_draining_daemon_can_still_be_detached(
    box: Box, daemon: subprocess.Popen[bytes]
) -> None:
    """It leaves at once, and what it was waiting for goes on."""
    key = box.submit(script(box))
    await until_it_runs(box)
    daemon.send_signal(signal.SIGTERM)
    until(lambda: '"draining' in box.log() or None, "draining", box.log)
    await one(box, "detach")
    assert daemon.wait(PATIENCE) == 0
    box.start()
    go(box)
    assert box.outcome(key)["attempt"] == 1
