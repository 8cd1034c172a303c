"""The artifact cache before a real store: missed, hit, hit after a restart, ten at once.

python benchmarks/cache.py [--quick] [--rounds N]

1 GiB in 20,000 files, in SeaweedFS on loopback. What is timed is what an experiment waits for: the
look at the store, the lease, and its own tree, attached by an overlay or copied. ``--quick`` takes
a sixteenth.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from benchmarks.attachment import ready
from benchmarks.transferring.contenders import Ours, OursMinio, Place
from benchmarks.transferring.unpacking import write_tar
from runner import log
from runner.cache.trees import TreeCache
from runner.model import Artifact, Bytes
from runner.redaction import Redactor
from runner.sandboxes.plain import PlainSandbox
from tests.servers import seaweed

SIZE, MEMBERS = 1 << 30, 20_000
LIMIT = Bytes(8 << 30)
AT_ONCE = 10


class Bench:
    """One artifact in a store, and a cache that is emptied and opened again at will."""

    def __init__(self, ours: Ours, root: Path, *, overlay: bool) -> None:
        self._ours = ours
        self._cache_dir = root / "cache"
        self._working_dir = root / "work"
        self._overlay = overlay
        location = ours.server.location(ours.bucket, "archive")
        self._artifact = Artifact("workspace", location, mutable=False, unpack=True)

    async def missed(self) -> float:
        """Return the seconds with nothing kept."""
        shutil.rmtree(self._cache_dir, ignore_errors=True)
        return await self.restarted()

    async def restarted(self) -> float:
        """Return the seconds of the first experiment of a daemon."""
        async with TreeCache(self._cache_dir, LIMIT) as cache:
            return await self._ready(cache, overlay=self._overlay)

    async def hit(self, *, overlay: bool) -> float:
        """Return the seconds of the second experiment of a daemon."""
        async with TreeCache(self._cache_dir, LIMIT) as cache:
            await self._ready(cache, overlay=self._overlay)
            return await self._ready(cache, overlay=overlay)

    async def together(self) -> float:
        """Return the seconds until the last of ten has its tree, that begin with nothing kept."""
        shutil.rmtree(self._cache_dir, ignore_errors=True)
        begun = time.perf_counter()
        async with (
            TreeCache(self._cache_dir, LIMIT) as cache,
            anyio.create_task_group() as group,
        ):
            for number in range(AT_ONCE):
                group.start_soon(self._one_of_many, cache, number)
        return time.perf_counter() - begun

    async def _one_of_many(self, cache: TreeCache, number: int) -> None:
        own = self._working_dir / str(number)
        own.mkdir()
        await ready(cache, self._ours.store, self._artifact, own, overlay=self._overlay)
        shutil.rmtree(own)

    async def _ready(self, cache: TreeCache, *, overlay: bool) -> float:
        found = await ready(
            cache, self._ours.store, self._artifact, self._working_dir, overlay=overlay
        )
        return found[0]


async def measure(ours: Ours, root: Path, rounds: int, title: str) -> Table:
    """Return the table."""
    (root / "work").mkdir()
    (root / "cache").mkdir()
    can = PlainSandbox().try_overlays(lower=root / "cache", upper=root / "work")
    table = Table(title, "seconds", "goal")
    async with ours.store:
        bench = Bench(ours, root, overlay=can)
        way = "attached" if can else "copied"
        table.add_row(f"missed: fetched, unpacked, {way}", await _median(bench.missed, rounds), "")
        if can:
            hit = await _median(lambda: bench.hit(overlay=True), rounds)
            table.add_row("hit, attached", hit, "<= 0.3")
        table.add_row("hit, copied", await _median(lambda: bench.hit(overlay=False), rounds), "")
        table.add_row(f"first after a restart, {way}", await _median(bench.restarted, rounds), "")
        table.add_row(f"{AT_ONCE} at once, missed, {way}", await _median(bench.together, 1), "")
    return table


async def _median(act: Callable[[], Awaitable[float]], rounds: int) -> str:
    return f"{statistics.median([await act() for _ in range(rounds)]):.3f}"


def main(rounds: int, scale: int) -> None:
    """Measure in a directory of its own and print."""
    log.configure(level="warning", form="text", redactor=Redactor())
    with tempfile.TemporaryDirectory() as directory:
        server_folder, root = Path(directory) / "server", Path(directory) / "files"
        server_folder.mkdir()
        root.mkdir()
        with (
            seaweed.running(server_folder, "-master.volumeSizeLimitMB=1024") as server,
            server.bucket() as bucket,
        ):
            ours = OursMinio(Place(server, bucket, root))
            archive = root / "archive.tar"
            write_tar(archive, SIZE // scale, MEMBERS // scale)
            ours.up(archive, "archive")
            archive.unlink()
            title = f"{SIZE // scale >> 20} MiB in {MEMBERS // scale} files"
            Console().print(anyio.run(measure, ours, root, rounds, title))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    main(given.rounds, 16 if given.quick else 1)
