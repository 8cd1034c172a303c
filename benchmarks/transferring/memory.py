"""What four large transfers at once cost in memory, in a process that does nothing else.

Run as a script it is that process: it prints idle and greatest resident memory, and the seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import anyio
from rich.table import Table

from benchmarks.transferring.contenders import Place
from runner.model import Credentials
from runner.redaction import Secret
from runner.stores import STORES
from runner.stores.base import Account, Store, StoreOptions
from tests.servers.s3 import S3Server

PIECE = 1 << 20


class Cost(NamedTuple):
    """What one direction took."""

    idle: int
    peak: int
    seconds: float

    def row(self, what: str, moved: int) -> tuple[str, ...]:
        """Return it as a line of the table."""
        above, rate = (self.peak - self.idle) / 1e6, moved / self.seconds / 1e6
        return what, f"{self.idle / 1e6:.0f} MB", f"{above:.0f} MB", "<= 150 MB", f"{rate:.0f}"


def measure(place: Place, backend: str, size: int, at_once: int) -> Table:
    """Return the table; each direction has a process of its own."""
    title = f"{at_once} transfers of {size >> 20} MiB at once ({backend})"
    table = Table(title, "idle", "above idle", "goal", "MB/s")
    for what in ("up", "down"):
        words = [backend, str(place.server.port), place.bucket, what, str(size), str(at_once)]
        command = [sys.executable, "-m", "benchmarks.transferring.memory", *words]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        keys = {
            "ACCESS": place.server.admin.access_key,
            "SECRET": place.server.admin.secret_key.reveal(),
        }
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**environ, **keys})
        table.add_row(*Cost(*json.loads(done.stdout)).row(what, size * at_once))
    return table


async def _main(*words: str) -> None:
    backend, port, bucket, what, size, at_once = words
    keys = Credentials(os.environ["ACCESS"], Secret(os.environ["SECRET"]))
    server = S3Server(int(port), keys)
    kind: type[Store] = STORES.load(backend)
    account = Account(backend, server.endpoint, server.region, server.admin)
    async with kind.for_account(account, StoreOptions()) as store:

        async def act(key: str, count: int) -> Any:
            where = server.location(bucket, key)
            if what == "up":
                return await store.write(where, lambda stream: _produce(stream, count))
            return await store.read(where, _consume)

        first = server.location(bucket, "first")
        await store.write(first, lambda stream: _produce(stream, PIECE))
        await store.read(first, _consume)
        idle, begun = _status("VmRSS"), time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(int(at_once)):
                group.start_soon(act, f"transfer-{number}", int(size))
        seconds = time.perf_counter() - begun
        print(json.dumps(Cost(idle, _status("VmHWM"), seconds)))


def _produce(stream: BinaryIO, count: int) -> None:
    piece = os.urandom(PIECE)
    stream.writelines(piece for _ in range(count // PIECE))


def _consume(stream: BinaryIO) -> None:
    while stream.read(PIECE):
        pass


def _status(field: str) -> int:
    """Return bytes of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


if __name__ == "__main__":
    anyio.run(_main, *sys.argv[1:])
