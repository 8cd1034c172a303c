"""A daemon tells of itself, and is never kept waiting for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog.testing

from runner import blocking
from runner.fleet.beat import Beat
from runner.fleet.carrier import Carrier, Put
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


def has_nobody_under_way() -> bool:
    """Tell whether every thread that carried something has ended."""
    return all(thread.name != "fleet" for thread in threading.enumerate())


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
    await eventually(has_nobody_under_way)


async def test_a_store_that_hangs_is_left_alone(tmp_path: Path) -> None:
    """Whoever asks a dead mount never comes back; the daemon says so once, and can end.

    It is not asked again while it hangs, and told anew as soon as it does not.
    """
    place, options = local(tmp_path)
    teller, alive, asked = Teller(), threading.Event(), list[str]()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Put]:
        async def put(name: str, _: bytes) -> None:
            asked.append(name)
            await blocking.call(lambda _: alive.wait(), limit=blocking.Limit(1))

        yield put

    hanging = Writer(
        place,
        options,
        teller.now,
        teller.farewell,
        interval=OFTEN,
        patience=0.02,
        last=0.02,
        carrier=Carrier(opened, 0.02),
    )
    try:
        with structlog.testing.capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(hanging.write)
                await eventually(lambda: teller.asked >= 3)
                group.cancel_scope.cancel()
    finally:
        alive.set()
        await eventually(has_nobody_under_way)
    assert len(asked) == 1
    assert "does not answer" in logs[0]["trouble"]
    assert len(logs) == 1
    assert hanging.written == 0


async def test_a_defect_costs_a_warning_and_nothing_else(tmp_path: Path) -> None:
    """Nothing that runs may end for what is only a notice on a board."""
    place, options = local(tmp_path)
    teller = Teller()

    def describe() -> Beat:
        found = teller.now()
        if teller.asked < 3:
            raise KeyError("queue")
        return found

    defective = Writer(place, options, describe, teller.farewell, interval=OFTEN)
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as group:
            group.start_soon(defective.write)
            await eventually(lambda: defective.written > 0)
            group.cancel_scope.cancel()
    said = [one["trouble"] for one in logs if one["log_level"] == "warning"]
    assert said == ["a defect of the runner: KeyError: 'queue'"]
    assert told(tmp_path)[0]["state"] == "ended"
