"""Three daemons that do everything to one cache at once, killed again and again; and an observer.

Started by ``test_storm``; prints one JSON document. The daemons are forked, so that a new one is
there in milliseconds. They write a line for each thing done, and one that begins with ``!`` for
each thing that must not be.
"""

# ruff: noqa: S311 - chance is for repetition here, not for secrets

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import anyio
import structlog

from runner.archives.footprint import INODE, of_file
from runner.cache.base import Fill, Filled, Kept, Source
from runner.cache.locks import ALONE, Lock
from runner.cache.places import Places
from runner.cache.trees import TreeCache
from runner.cache.upkeep import Upkeep
from runner.errors import StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import Checksum, ObjectInfo

LIMIT = Bytes(3 << 20)
#: Half of the objects get their digest behind the lease.
SMALL = Bytes(250 << 10)
DAEMONS, TASKS, OBJECTS = 3, 3, 24
OPERATIONS, KILLS = 1000, 60
#: Seconds; by then they have stopped doing anything.
LONGEST = 60


@functools.cache
def files_of(number: int) -> dict[str, bytes]:
    """Return what the object ``number`` holds: so much that what files cost besides is little."""
    chance = random.Random(number)
    return {
        f"folder{place % 2}/file{place}": chance.randbytes(chance.choice([1, 90_000, 120_000]))
        for place in range(chance.randint(1, 5))
    }


def source_of(number: int) -> Source:
    """Describe the object."""
    files = files_of(number)
    checksum = Checksum("md5", hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest())
    info = ObjectInfo(Bytes(sum(map(len, files.values()))), str(number), checksum)
    return Source(Location("s3", "host", "bucket", str(number)), info, unpack=True)


class Daemon:
    """One of them."""

    def __init__(self, directory: Path, seed: float, out: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.out = out

    def say(self, line: str) -> None:
        """Write a line whole, so that those of others are not torn."""
        os.write(self.out, f"{line[:400]}\n".encode())

    def log(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        """Nothing here is allowed to warn."""
        if level != "info":
            self.say(f"! {event}")
        raise structlog.DropEvent

    async def run(self) -> None:
        """Do things until killed."""
        structlog.configure(processors=[self.log])
        async with (
            TreeCache(self.directory, LIMIT, small=SMALL) as cache,
            anyio.create_task_group() as group,
        ):
            for _ in range(TASKS):
                group.start_soon(self._work, cache)

    async def _work(self, cache: TreeCache) -> None:
        while True:
            choice = self.chance.random()
            if choice < 0.04:
                await anyio.to_thread.run_sync(self._prune)
            elif choice < 0.08:
                await anyio.to_thread.run_sync(self._verify)
            else:
                await self._lease(cache, self.chance.randrange(OBJECTS))
            self.say("done")

    async def _lease(self, cache: TreeCache, number: int) -> None:
        patience = self.chance.choice([0.005, 5, 5, 5])
        with anyio.move_on_after(patience), contextlib.suppress(StoreUnavailable):
            async with cache.lease(source_of(number), self._fill(number)) as kept:
                if kept is not None:
                    await anyio.to_thread.run_sync(self._compare, number, kept)
                    await anyio.sleep(self.chance.random() * 0.01)
                    await anyio.to_thread.run_sync(self._compare, number, kept)

    def _fill(self, number: int) -> Fill:
        fails_at = self.chance.choice([0, 3, 99, 99, 99, 99])

        def write(into: Path, take: Callable[[int], None]) -> int:
            for place, (name, content) in enumerate(files_of(number).items()):
                if place == fails_at:
                    raise StoreUnavailable("reset")
                if not (into / name).parent.exists():
                    take(INODE)
                    (into / name).parent.mkdir()
                take(of_file(len(content)))
                (into / name).write_bytes(content)
                time.sleep(0.002)  # a network
            return len(files_of(number))

        async def fill(into: Path, take: Callable[[int], None]) -> Filled:
            members = await anyio.to_thread.run_sync(write, into, take)
            return Filled(source_of(number).info.size, members)

        return fill

    def _compare(self, number: int, kept: Kept) -> None:
        found = {
            str(path.relative_to(kept.root)): path.read_bytes()
            for path in kept.root.rglob("*")
            if path.is_file()
        }
        if found != files_of(number):
            self.say(f"! object {number} has {sorted(found)} in {kept.root}")

    def _prune(self) -> None:
        Upkeep(self.directory).prune(Bytes(self.chance.randrange(LIMIT // 2, LIMIT)))

    def _verify(self) -> None:
        for one in Upkeep(self.directory).verify():
            if one.is_damaged:
                self.say(f"! {one}")


def observe(directory: Path, out: int, *, is_mount: bool) -> None:
    """Measure the directory for ever, and say what was the most."""
    most, measure = 0, of_disk if is_mount else of_directory
    while True:
        time.sleep(0.001)  # others have work to do
        found = measure(directory)
        if found > most:
            most = found
            os.write(out, f"most {most}\n".encode())


def of_disk(directory: Path) -> int:
    """Return what a disk holds that is the cache's alone: all at one instant."""
    disk = os.statvfs(directory)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def of_directory(directory: Path) -> int:
    """Return what a directory takes: with the books in hand, since a walk takes its time.

    Nobody's share grows then and no name moves, so nothing is counted that was not there together.
    """
    total, seen = 0, set[int]()
    with Lock(Places(directory).ledger) as lock:
        lock.take(ALONE)
        for folder, _, names in os.walk(directory):
            for path in (folder, *(f"{folder}/{name}" for name in names)):
                with contextlib.suppress(FileNotFoundError):
                    state = os.lstat(path)
                    total += 0 if state.st_ino in seen else state.st_blocks * 512
                    seen.add(state.st_ino)
    return total


def forked(act: Callable[[], None]) -> int:
    """Run ``act`` in a child."""
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - a child that ends by itself is the finding
        os.write(2, f"{error!r}\n".encode())
    os._exit(1)


class Storm:
    """The daemons, the observer, and what they say."""

    def __init__(self, directory: Path, seed: int, *, is_mount: bool) -> None:
        self._directory = directory
        self._chance = random.Random(seed)
        self._is_mount = is_mount
        self._source, self._out = os.pipe()
        self._rest = b""
        self.report: dict[str, Any] = {"done": 0, "kills": 0, "most": 0, "trouble": []}

    def run(self) -> None:
        """Let it rage."""
        give_up = time.monotonic() + LONGEST
        observer = forked(lambda: observe(self._directory, self._out, is_mount=self._is_mount))
        daemons = [self._daemon() for _ in range(DAEMONS)]
        while not self._is_enough() and time.monotonic() < give_up:
            self._listen(self._chance.random() * 0.12)
            end(daemons.pop(self._chance.randrange(DAEMONS)))
            self.report["kills"] += 1
            daemons.append(self._daemon())
        for pid in (*daemons, observer):
            end(pid)
        self._listen(0)

    def _is_enough(self) -> bool:
        report = self.report
        return bool(report["done"] >= OPERATIONS and report["kills"] >= KILLS)

    def _daemon(self) -> int:
        daemon = Daemon(self._directory, self._chance.random(), self._out)
        return forked(lambda: anyio.run(daemon.run))

    def _listen(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while select.select([self._source], [], [], max(0, until - time.monotonic()))[0]:
            *lines, self._rest = (self._rest + os.read(self._source, 65536)).split(b"\n")
            for line in lines:
                self._hear(line.decode())

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "most":
            self.report["most"] = int(rest)
        elif word == "!":
            self.report["trouble"].append(rest)
        else:
            self.report["done"] += 1


def end(pid: int) -> None:
    """Kill a child, wherever it is."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "a daemon ended by itself"


if __name__ == "__main__":
    storm = Storm(Path(sys.argv[1]), int(sys.argv[2]), is_mount=sys.argv[3] == "mount")
    storm.run()
    json.dump(storm.report, sys.stdout)
