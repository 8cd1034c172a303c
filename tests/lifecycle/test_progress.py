"""How far a long fetch has come is counted, and told to whoever looks."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from runner.lifecycle.artifacts.progress import Progress
from runner.model import Location
from runner.stores.local import LocalStore

pytestmark = pytest.mark.anyio

MB = 10**6


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


async def test_bytes_are_counted_as_they_are_read(tmp_path: Path, clock: Clock) -> None:
    """Of the objects that are on their way, once it takes long; whichever way they are read."""
    progress = Progress(clock)
    store = progress.watched(LocalStore((tmp_path,)))
    places = [Location("file", "", "", str(tmp_path / name)) for name in ("a", "b")]
    for place in places:
        (tmp_path / place.key).write_bytes(bytes(2 * MB))
        await store.stat(place)
    seen: list[tuple[int, int] | None] = []

    def consume(stream: BinaryIO) -> int:
        stream.read(MB)
        seen.append(progress.now)
        clock.now = 10.0
        seen.append(progress.now)
        buffer = bytearray(MB // 2)
        stream.readinto(buffer)  # type: ignore[attr-defined]
        # every store's stream has it
        seen.append(progress.now)
        return len(stream.read()) + len(stream.read())

    assert await store.read(places[0], consume) == MB // 2
    assert seen == [None, (MB, 2 * MB), (3 * MB // 2, 2 * MB)]
    assert progress.now == (2 * MB, 2 * MB)
    await store.read(places[1], lambda stream: stream.read(MB))
    assert progress.now == (3 * MB, 4 * MB)


async def test_a_watched_store_is_the_store(tmp_path: Path) -> None:
    """Everything else passes through, and a stop reaches the work between two reads."""
    inner = LocalStore((tmp_path,))
    store = Progress().watched(inner)
    place = Location("file", "", "", str(tmp_path / "a"))
    await store.put_if(place, b"body", None)
    assert store.smallest_kept is inner.smallest_kept
    assert await store.stat(place) == await inner.stat(place)

    def consume(stream: BinaryIO) -> bytes:
        stream.check()  # type: ignore[attr-defined]
        # every store's stream has it
        return stream.read()

    assert await store.read(place, consume) == b"body"
    await store.delete(place)
    assert not (tmp_path / "a").exists()
