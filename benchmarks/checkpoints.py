"""A checkpoint of a large directory of which one file changed, against sending the whole.

python benchmarks/checkpoints.py [--quick] [--rounds N]

SeaweedFS on loopback, through the runner's own upload of artifacts, as a daemon does that was just
started. Both store the same change in the same round, in turns first; figures are medians. At the
end the object is fetched, unpacked and compared with the directory. ``--quick``: a sixteenth.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from runner import log
from runner.archives.unpack import unpack
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Experiment, Location, Needs, Request
from runner.redaction import Redactor
from runner.request.units import format_size
from runner.stores.base import Account, Store, StoreOptions
from runner.stores.minio import MinioStore
from tests.servers import seaweed
from tests.servers.s3 import S3Server

FILES, SIZE = 200, 1 << 30
#: A volume has room for a transfer, and there are enough of them.
ROOM = ("-volume.max=100", "-master.volumeSizeLimitMB=1024")


@dataclass
class Figures:
    """What the uploads of one kind took."""

    seconds: list[float] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    size: int = 0


@dataclass
class Bench:
    """A directory, and the object that it is stored as."""

    store: Store
    workspace: Workspace
    artifact: Artifact
    file_size: int
    _changes: int = 0

    @property
    def directory(self) -> Path:
        """The experiment's checkpoints."""
        return self.workspace.directory(self.artifact.label)

    def fill(self) -> None:
        """Write the files."""
        self.directory.mkdir()
        for number in range(FILES):
            self._file(number).write_bytes(os.urandom(self.file_size))

    def change(self) -> None:
        """Write one file anew, another one each time."""
        self._changes += 1
        self._file(self._changes * 37 % FILES).write_bytes(os.urandom(self.file_size))

    def forget(self) -> None:
        """Know nothing of what is stored, as if the store could keep nothing."""
        shutil.rmtree(self.workspace.private / "layouts", ignore_errors=True)

    async def upload(self, figures: Figures) -> None:
        """Store what changed, and note what it took."""

        async def store_for(_: Artifact) -> Store:
            return self.store

        request = Request(Experiment("key", "a.py"), Needs(), {self.artifact.label: self.artifact})
        artifacts = Artifacts(request, self.workspace, store_for)
        read, began = bytes_read(), time.perf_counter()
        stored = (await artifacts.upload(final=False))[self.artifact.label]
        figures.seconds.append(time.perf_counter() - began)
        figures.read.append(bytes_read() - read)
        figures.sent.append(stored.sent)
        figures.size = stored.size

    async def check(self) -> None:
        """Fetch the object and compare it with the directory."""
        back = self.workspace.root / "back"
        back.mkdir()
        budget = Bytes(SIZE * 2)
        await self.store.read(
            self.artifact.location, lambda stream: unpack(stream, back, budget=budget)
        )
        names = sorted(path.name for path in back.iterdir())
        assert names == sorted(path.name for path in self.directory.iterdir())
        for name in names:
            assert (back / name).read_bytes() == (self.directory / name).read_bytes()

    def _file(self, number: int) -> Path:
        return self.directory / f"layer-{number:03}.safetensors"


def bytes_read() -> int:
    """Return what this process has read until now, from files and all else but sockets."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


async def measure(server: S3Server, bucket: str, base: Path, scale: int, rounds: int) -> None:
    """Run the rounds and print the figures."""
    account = Account("minio", server.endpoint, credentials=server.admin)
    location = Location("s3", server.host, bucket, "experiments/key/modeldir.tar")
    async with MinioStore.for_account(account, StoreOptions()) as store:
        artifact = Artifact("modeldir", location, mutable=True, unpack=True)
        workspace = Workspace.create(base, "key")
        bench = Bench(store, workspace, artifact, SIZE // FILES // scale)
        bench.fill()
        first, whole, changed = Figures(), Figures(), Figures()
        await bench.upload(first)
        for number in range(rounds):
            for is_whole in (True, False) if number % 2 else (False, True):
                bench.change()
                if is_whole:
                    bench.forget()
                await bench.upload(whole if is_whole else changed)
        await bench.check()
    Console(width=120).print(table(whole, changed))


def table(whole: Figures, changed: Figures) -> Table:
    """Lay the figures side by side."""
    found = Table(title=f"{format_size(whole.size)} in {FILES} files, of which one changed")
    for column in ("", "the whole", "what changed", "share"):
        found.add_column(column, justify="right" if column else "left")
    rows: tuple[tuple[str, Callable[[Figures], list[float]], Callable[[float], str]], ...] = (
        ("seconds", lambda one: one.seconds, lambda value: f"{value:.2f}"),
        ("read", lambda one: list(one.read), lambda value: format_size(int(value))),
        ("sent", lambda one: list(one.sent), lambda value: format_size(int(value))),
    )
    for name, values, shown in rows:
        one, other = (statistics.median(values(figures)) for figures in (whole, changed))
        found.add_row(name, shown(one), shown(other), f"{other / one:.1%}")
    return found


def main(scale: int, rounds: int) -> None:
    """Measure on a server of its own."""
    log.configure(level="warning", form="text", redactor=Redactor())
    with tempfile.TemporaryDirectory() as directory:
        folder, files = Path(directory) / "server", Path(directory) / "files"
        folder.mkdir()
        with seaweed.running(folder, *ROOM) as server, server.bucket() as bucket:
            anyio.run(measure, server, bucket, files, scale, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    main(16 if given.quick else 1, given.rounds)
