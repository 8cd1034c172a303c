"""``studio-runner gpus``: what a daemon tells of its cards, and what is seen without one."""

from __future__ import annotations

import fcntl
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.control.server import ControlServer
from runner.lifecycle.board import Board, Entry
from runner.lifecycle.gpus import board as gpu_board
from runner.lifecycle.runs.record import Phase, Record, Records
from runner.model import Allocation, Bytes, Gpu, Message
from runner.resources.base import GpuInventory, GpuReading
from tests.cli.conftest import Desk
from tests.lifecycle.records import a_record
from tests.servers.nvml import Card, Nvml

Item = dict[str, Any]
GIB = 1 << 30
A = Gpu("GPU-a", "NVIDIA L4", Bytes(24 * GIB), 12)
B = Gpu("GPU-b", "Tesla T4", Bytes(16 * GIB), 8)
BUSY = GpuReading(Bytes(GIB), utilization=0.97, temperature=71, power=66.6)


def rows() -> list[Item]:
    """Return what a daemon tells: a card that is shared, and one that is not given out."""
    share = Allocation(1, Bytes(0), Bytes(0), ("GPU-a",), 4, Bytes(8 * GIB), "local_q")
    message = Message("m", b"", "local_q")
    record = Record("r1", message, "local", "p", "", "k\x1b1", "", 1, share)
    board = Board()
    board.enter(Entry(record))
    left = Gpu("GPU-a", "NVIDIA L4", Bytes(16 * GIB), 8, group="local_q")
    seen = GpuInventory((A, B), readings={"GPU-a": BUSY})
    return gpu_board.rows((A, B), (left,), board, {"GPU-b": "it is broken"}, seen)


def test_each_card_is_told_with_its_holders() -> None:
    """What is free of it, who has the rest, and why it is not given out."""
    first, second = rows()
    assert (first["free_slots"], first["slots"], first["utilization"]) == (8, 12, 0.97)
    (holder,) = first["held_by"]
    assert (holder["queue"], holder["slots"], holder["memory"]) == ("local_q", 4, 8 * GIB)
    assert (second["free_slots"], second["withheld"]) == (0, "it is broken")
    assert second["held_by"] == []


def test_the_documentation_names_every_field() -> None:
    """And no other, so that scripts can rely on it."""
    text = (Path(__file__).parents[2] / "docs" / "gpus.md").read_text()
    named = set(re.findall(r"^\| `gpus\[\]\.([\w.\[\]]+)` \|", text, re.MULTILINE))
    first, _ = rows()
    holder = {f"held_by[].{name}" for name in first["held_by"][0]}
    assert named == set(first) | holder


@pytest.mark.anyio
async def test_the_daemon_is_asked(desk: Desk) -> None:
    """A table for people, which no key can draw over, and everything as JSON."""

    async def gpus(_: Item) -> AsyncIterator[Item]:
        yield {"driver": "550.1", "cuda": "12.4", "gpus": rows(), "why_no_gpus": ""}

    path = desk.root / "state" / "control.sock"
    path.parent.mkdir()
    async with anyio.create_task_group() as group:
        await group.start(ControlServer(path, {"gpus": gpus}).serve)
        command = [sys.executable, "-m", "runner", "gpus"]
        text = (await anyio.run_process(command)).stdout.decode()
        found = json.loads((await anyio.run_process([*command, "--json"])).stdout)
        group.cancel_scope.cancel()
    _, first, second, reason = text.splitlines()
    assert first == (
        "NVIDIA L4\tGPU-a\t1.0 of 24.0 GiB\t97%\t71\t67\t8 of 12\tshared\tk\\x1b1 (local_q)"
    )
    assert second.endswith("\t0 of 8\twithheld\t")
    assert reason == "GPU-b is not given out: it is broken"
    assert found["daemon"] is True
    assert [card["uuid"] for card in found["gpus"]] == ["GPU-a", "GPU-b"]


@pytest.mark.service("nvml")
def test_without_a_daemon_it_looks_itself(
    desk: Desk, nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the last daemon has left there, what others have, what is broken; nothing is taken."""
    nvml.cards = [Card("NVIDIA L4", used=GIB), Card("NVIDIA L4"), Card("Tesla T4", remapping=True)]
    nvml.cards = [*nvml.cards, Card("Tesla T4", used=GIB), Card("Tesla T4", temperature=33)]
    nvml.install(monkeypatch)
    locks = desk.root / "locks"
    locks.mkdir()
    message = Message("m", b"", "local_q")
    share = Allocation(1, Bytes(1), Bytes(0), ("GPU-00000000",))
    left = a_record("r1", key="k1", message=message, phase=Phase.RUNNING, allocation=share)
    Records(desk.root / "state" / "runs").write(left)
    options = ("--gpu-probe", "nvml", "--lock-dir", str(locks))
    with (locks / "gpu-GPU-00000001.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, text, _ = desk.run("gpus", *options)
    assert status == 0
    mine, *others, free, theirs, broken, foreign = text.splitlines()[1:]
    assert mine.endswith("\t0 of 8\tbusy\tk1 (local_q)")
    assert all("\twithheld\t" in line for line in others)
    assert free.endswith("\t33\t60\t4 of 4\tfree\t")
    assert theirs == "GPU-00000001 is not given out: it is left to another runner"
    assert broken.startswith("GPU-00000002 is not given out: a bad part of its memory")
    assert "GPU-00000003" in foreign
    assert "of its memory are in use" in foreign
    assert len(list(locks.iterdir())) == 1


def test_a_machine_without_cards_says_why(desk: Desk) -> None:
    """Also as JSON; it is no failure."""
    status, text, _ = desk.run("gpus", "--cpu-only")
    assert (status, text) == (0, "No GPU is given out: --cpu-only is set\n")
    status, text, _ = desk.run("gpus", "--cpu-only", "--json")
    assert json.loads(text) == {
        "daemon": False,
        "driver": "",
        "cuda": "",
        "gpus": [],
        "why_no_gpus": "--cpu-only is set",
    }
