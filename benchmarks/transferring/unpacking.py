"""A tar of many files: fetched and unpacked at once, against each of the two alone."""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from rich.table import Table

from benchmarks.transferring.contenders import Ours, Place
from benchmarks.transferring.large import share
from runner.archives.unpack import unpack
from runner.model import Bytes

#: Files of one directory of the archive.
_BESIDE = 100


def write_tar(file: Path, size: int, members: int) -> None:
    """Write an archive of ``members`` files, ``size`` bytes together."""
    each = size // members
    content = os.urandom(each)
    with tarfile.open(file, "w") as tar:
        for number in range(members):
            info = tarfile.TarInfo(f"part{number // _BESIDE}/file{number}")
            info.size, info.mtime = each, 1_700_000_000
            tar.addfile(info, io.BytesIO(number.to_bytes(8, "big") + content[8:]))


def measure(place: Place, kind: type[Ours], size: int, members: int, rounds: int) -> Table:
    """Return the table of the times."""
    with closing(kind(place)) as ours:
        return _measured(place, ours, size, members, rounds)


def _measured(place: Place, ours: Ours, size: int, members: int, rounds: int) -> Table:
    archive, tree = place.folder / "archive.tar", place.folder / "tree"
    write_tar(archive, size, members)
    ours.up(archive, "archive")
    ways: dict[str, Callable[[], None]] = {
        "download and unpack, ours": lambda: fetched(ours, tree),
        "download alone, ours": lambda: ours.down("archive", tree / "file"),
        "unpack alone, GNU tar": lambda: gnu_tar(archive, tree),
        "unpack alone, ours": lambda: unpacked(archive, tree),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        shift = number % len(ways)
        order = list(ways.items())
        for name, act in [*order[shift:], *order[:shift]]:
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir()
            os.sync()
            begun = time.perf_counter()
            act()
            times[name].append(time.perf_counter() - begun)
    shutil.rmtree(tree)
    archive.unlink()
    return _table(times, f"{size >> 20} MiB tar of {members} files ({ours.name})")


def fetched(ours: Ours, tree: Path) -> None:
    """Unpack while downloading."""
    location = ours.server.location(ours.bucket, "archive")
    ours.run(lambda: ours.store.read(location, lambda stream: _unpack(stream, tree)))


def unpacked(archive: Path, tree: Path) -> None:
    """Unpack a local file as the runner does."""
    with archive.open("rb", buffering=1 << 18) as stream:
        _unpack(stream, tree)


def gnu_tar(archive: Path, tree: Path) -> None:
    """Unpack a local file with GNU tar."""
    command = ["tar", "-xf", str(archive), "-C", str(tree), "--no-same-owner"]
    subprocess.run(command, check=True)


def _unpack(stream: BinaryIO, tree: Path) -> None:
    unpack(stream, tree, budget=Bytes(1 << 50))


def _table(times: dict[str, list[float]], title: str) -> Table:
    medians = {name: statistics.median(found) for name, found in times.items()}
    alone = (times["download alone, ours"], times["unpack alone, GNU tar"])
    slower = [max(found) for found in zip(*alone, strict=True)]
    table = Table(title, "seconds", "of the slower alone", "goal")
    for name, seconds in medians.items():
        goal = "<= 1.15" if name.startswith("download and") else ""
        table.add_row(name, f"{seconds:.2f}", share(times[name], slower), goal)
    return table
