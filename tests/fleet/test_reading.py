"""Who is there, who is late and who is forgotten."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.fleet.beat import LONGEST, Standing, encode
from runner.fleet.mount import Mount
from runner.fleet.place import place_of
from runner.fleet.reading import Fleet, Reader, Seen, now_at, parted
from runner.model import Bytes, Location
from runner.stores.base import Entry, Listing
from runner.stores.pool import StorePool
from tests.fleet.beats import EARLY, beat, local

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("age", "interval", "state", "late"),
    [
        (179.0, 60.0, Standing.TAKING, False),
        (181.0, 60.0, Standing.TAKING, True),
        (181.0, 60.0, Standing.ENDED, False),
        (181.0, 60.0, Standing.LEFT, False),
        (2.0, 0.0, Standing.TAKING, False),
        (4.0, -5.0, Standing.TAKING, True),
        (10_801.0, 1e30, Standing.TAKING, True),
    ],
)
def test_three_missing_beats_are_late(age: float, interval: float, state: str, late: bool) -> None:  # noqa: FBT001 - a table
    """By its own interval, as far as that can be believed; who said that it ends is not missed."""
    assert Seen("box-1.json", age, beat(state=state, interval=interval)).is_late is late


def entry(name: str, modified: float) -> Entry:
    """Return an object of a folder."""
    return Entry(Location("s3", "", "bucket", f"fleet/{name}"), Bytes(9), modified)


@given(st.floats(0, 2e9), st.floats(-1e6, 1e6))
def test_the_stores_clock_counts(theirs: float, skew: float) -> None:
    """Where the store tells its time, this machine's clock may show anything."""
    listing = Listing((entry("a-1.json", theirs - 10),), now=theirs)
    assert now_at(listing, theirs + skew) == theirs


def test_a_clock_that_is_behind_is_noticed() -> None:
    """Without the store's, a beat of the future says how late it is at least; years are no clue."""
    beats = (entry("a-1.json", 1000.0), entry("b-1.json", 1e9))
    assert now_at(Listing(beats), 900.0) == 1000.0
    assert now_at(Listing(beats), 1100.0) == 1100.0
    assert now_at(Listing(()), 900.0) == 900.0


def test_a_day_is_forgotten() -> None:
    """What is older is parted from the rest; what is no beat is neither."""
    new, old = entry("new-1.json", 100_000.0), entry("old-1.json", 1000.0)
    listing = Listing((new, old, entry("readme.txt", 1000.0)))
    assert parted(listing, 100_001.0) == ([new], [old])


async def look(root: Path, *, prune: bool = False, now: float = EARLY) -> Fleet:
    """Look at a local fleet at a moment."""
    place, options = local(root)
    async with StorePool(options) as pool:
        reader = Reader(place, pool, clock=lambda: now)
        fleet = await reader.look()
        if prune:
            await reader.remove(fleet.forgotten)
        return fleet


def put(root: Path, name: str, body: bytes, modified: float = EARLY) -> Path:
    """Write an object of the folder as it was written then."""
    (root / "fleet").mkdir(exist_ok=True)
    file = root / "fleet" / name
    file.write_bytes(body)
    os.utime(file, (modified, modified))
    return file


async def test_a_directory_that_nobody_wrote_to_is_an_empty_fleet(tmp_path: Path) -> None:
    """Whoever looks before the first beat is told of nobody."""
    assert await look(tmp_path) == Fleet((), ())


async def test_everybody_is_seen_with_their_age(tmp_path: Path) -> None:
    """One that beats, one that is late, and one that is forgotten and then removed."""
    put(tmp_path, "a-1.json", encode(beat("a")))
    put(tmp_path, "b-1.json", encode(beat("b")), EARLY - 600)
    old = put(tmp_path, "c-1.json", encode(beat("c")), EARLY - 90_000)
    fleet = await look(tmp_path, now=EARLY + 7)
    assert [(one.name, one.age, one.is_late) for one in fleet.runners] == [
        ("a-1.json", 7.0, False),
        ("b-1.json", 607.0, True),
    ]
    assert len(fleet.forgotten) == 1
    assert old.exists()
    await look(tmp_path, prune=True)
    assert not old.exists()


async def test_rubbish_is_shown_as_what_it_is(tmp_path: Path) -> None:
    """What cannot be read, or is huge, keeps nobody from being seen."""
    put(tmp_path, "a-1.json", encode(beat("a")))
    put(tmp_path, "b-1.json", b"{}")
    put(tmp_path, "c-1.json", b" " * (LONGEST + 1))
    put(tmp_path, "notes.txt", b"hello")
    runners = (await look(tmp_path)).runners
    assert [one.beat is None for one in runners] == [False, True, True]
    assert "host" in runners[1].unreadable
    assert "bytes" in runners[2].unreadable


async def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    """A second look asks for the list alone: what was read is known by its time and size."""
    file = put(tmp_path, "a-1.json", encode(beat("a")))
    place, options = local(tmp_path)
    async with StorePool(options) as pool:
        reader = Reader(place, pool, clock=lambda: EARLY)
        first = await reader.look()
        put(tmp_path, "a-1.json", b"x" * file.stat().st_size)
        assert await reader.look() == first
        put(tmp_path, "a-1.json", encode(beat("a", Standing.DRAINING)), EARLY + 1)
        (seen,) = (await reader.look()).runners
        assert seen.beat is not None
        assert seen.beat.state == Standing.DRAINING


async def test_who_looks_at_a_directory_that_hangs_can_leave(tmp_path: Path) -> None:
    """A thread that a dead file system keeps is left to it."""
    place, options = local(tmp_path)
    alive, asked = threading.Event(), anyio.Event()
    loop = asyncio.get_running_loop()

    def ask(_: Path) -> None:
        loop.call_soon_threadsafe(asked.set)
        alive.wait()

    mount = Mount(tmp_path, ask)
    async with StorePool(options) as pool, anyio.create_task_group() as group:
        group.start_soon(Reader(place, pool, mount=mount).look)
        await asked.wait()
        group.cancel_scope.cancel()
    alive.set()
    await mount.wait()


async def test_a_directory_is_asked_whether_it_hangs(tmp_path: Path) -> None:
    """Before it is read; a bucket is not."""
    place, options = local(tmp_path)
    async with StorePool(options) as pool:
        assert Reader(place, pool).mount is not None
        assert Reader(place_of("s3:///bucket"), pool).mount is None
