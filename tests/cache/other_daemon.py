"""A second daemon for the tests: leases the archive ``one`` and does not let go of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from runner.cache.base import Filled
from runner.cache.trees import TreeCache
from runner.model import Bytes
from tests.contracts.cache import LIMIT, SIZE, Fetch, source_of

#: What takes a second to read, and little of the disk: something in each megabyte of it.
LONG, STEP = 1 << 30, 1 << 20


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def for_ever(into: Path, take: Callable[[int], None]) -> Filled:
    """Begin a fetch, and come to no end."""
    await anyio.to_thread.run_sync(take, LIMIT // 2)
    (into / "part").write_bytes(bytes(SIZE))
    say("filling")
    await anyio.sleep_forever()
    raise AssertionError


async def long(into: Path, take: Callable[[int], None]) -> Filled:
    """Fetch a file of holes that has to be read all the same."""
    await anyio.to_thread.run_sync(take, LONG // STEP * 4096)
    with (into / "data").open("wb") as file:
        for place in range(0, LONG, STEP):
            file.seek(place)
            file.write(b"x")
        file.truncate(LONG)
    return Filled(Bytes(LONG // STEP * 4096), 1)


async def main(directory: Path, mode: str) -> None:
    """Lease, say so, and wait to be killed."""
    fills = {"fill-for-ever": for_ever, "die-unsealed": long}
    fill, limit = fills.get(mode, Fetch()), Bytes(2 * LONG) if mode == "die-unsealed" else LIMIT
    async with (
        TreeCache(directory, limit, small=Bytes(STEP)) as cache,
        cache.lease(source_of("one"), fill) as kept,
    ):
        assert kept is not None
        say("kept found" if kept.reused else "kept fetched")
        if mode == "die-unsealed":
            os.kill(os.getpid(), signal.SIGKILL)
        await anyio.sleep_forever()


anyio.run(main, Path(sys.argv[1]), sys.argv[2])
