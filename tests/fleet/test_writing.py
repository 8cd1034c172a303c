"""A daemon tells of itself, and is never kept waiting for it."""

from __future__ import annotations

import json
import socket
import threading
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog.testing

from runner.fleet.mount import Mount
from runner.fleet.place import place_of
from runner.fleet.writing import Writer
from runner.stores.base import StoreOptions
from tests.fleet.beats import Teller, eventually, local

pytestmark = pytest.mark.anyio

OFTEN = timedelta(milliseconds=5)


def writer(root: Path, teller: Teller) -> Writer:
    """Return one that writes to a directory, often."""
    place, options = local(root)
    return Writer(place, options, teller.now, teller.farewell, interval=OFTEN)


def told(root: Path) -> list[dict[str, object]]:
    """Return all that lies in the folder."""
    beats = (root / "fleet").glob("[!.]*")
    return [json.loads(file.read_bytes()) for file in beats]


async def test_one_object_is_written_over_and_over_and_says_goodbye(tmp_path: Path) -> None:
    """Many beats are one object, and the last one says that the runner has ended."""
    teller = Teller()
    async with anyio.create_task_group() as group:
        group.start_soon(writer(tmp_path, teller).write)
        await eventually(lambda: teller.asked >= 4)
        (now,) = told(tmp_path)
        assert now["state"] == "taking"
        group.cancel_scope.cancel()
    (last,) = told(tmp_path)
    assert last["state"] == "ended"
    assert last["host"] == "box"


async def test_two_runners_are_two_objects(tmp_path: Path) -> None:
    """Nobody writes over anybody else."""
    tellers = [Teller("one"), Teller("two")]
    async with anyio.create_task_group() as group:
        for teller in tellers:
            group.start_soon(writer(tmp_path, teller).write)
        await eventually(lambda: min(teller.asked for teller in tellers) >= 2)
        group.cancel_scope.cancel()
    assert sorted(str(one["host"]) for one in told(tmp_path)) == ["one", "two"]


async def test_a_store_that_is_away_is_one_warning(tmp_path: Path) -> None:
    """However often it fails; when the directory is there again, that is said, and it is told."""
    root = tmp_path / "mounted"
    teller = Teller()
    writer_ = writer(root, teller)
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as group:
            group.start_soon(writer_.write)
            await eventually(lambda: teller.asked >= 4)
            root.mkdir()
            await eventually(lambda: writer_.written > 0)
            group.cancel_scope.cancel()
    warnings = [one for one in logs if one["log_level"] == "warning"]
    assert len(warnings) == 1
    assert "--fleet-store" in warnings[0]["trouble"]
    assert [one["event"] for one in logs if one["log_level"] == "info"] == [
        "the fleet's store is told again"
    ]
    assert told(root)


async def test_a_store_that_is_silent_is_given_up_in_time() -> None:
    """A server that accepts and never answers costs neither the next beat nor the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and says nothing
        port = server.getsockname()[1]
        teller = Teller()
        silent = Writer(
            place_of(f"s3://127.0.0.1:{port}/bucket"),
            StoreOptions(allow_own_credentials=True),
            teller.now,
            teller.farewell,
            interval=OFTEN,
            environ={},
            patience=0.05,
            last=0.05,
        )
        with structlog.testing.capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(silent.write)
                await eventually(lambda: teller.asked >= 3)
                group.cancel_scope.cancel()
    assert len([one for one in logs if one["log_level"] == "warning"]) == 1
    assert silent.written == 0


async def test_a_directory_that_hangs_is_left_alone(tmp_path: Path) -> None:
    """Whoever asks a dead mount never comes back; the daemon says so once, and can end."""
    place, options = local(tmp_path)
    teller, alive, asked = Teller(), threading.Event(), list[Path]()

    def ask(root: Path) -> None:
        asked.append(root)
        alive.wait()

    mount = Mount(tmp_path, ask)
    hanging = Writer(
        place,
        options,
        teller.now,
        teller.farewell,
        interval=OFTEN,
        patience=0.02,
        last=0.02,
        mount=mount,
    )
    try:
        with structlog.testing.capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(hanging.write)
                await eventually(lambda: teller.asked >= 3)
                group.cancel_scope.cancel()
    finally:
        alive.set()
        await mount.wait()
    assert asked == [tmp_path]
    assert "does not answer" in logs[0]["trouble"]
    assert len(logs) == 1
    assert hanging.written == 0
