"""Everything that experiments may leave on a machine, at a broker and in a store, and must not."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runner.supervisor import hierarchies
from runner.supervisor.processes import PREFIX
from tests.faults.brokers import LocalQueue

if TYPE_CHECKING:
    from tests.faults.wreck import Wreck

#: Besides what was fetched: what the artifact cache writes about it.
_OBJECTS = {"output", "modeldir", "retval", "tb", "_metrics", "_metadata"}


def left(wreck: Wreck) -> list[str]:
    """Name it all, once every daemon has ended."""
    return [
        *(f"process {pid}" for pid in wreck.processes()),
        *_directories(wreck.root),
        *_mounts(wreck.root),
        *_groups(_runs(wreck)),
        *_locks(wreck.root),
        *(f"at the broker: {one}" for one in wreck.broker.left()),
        *(f"dead letter {file}" for file in _dead(wreck)),
        *(f"upload {one}" for one in wreck.shelf.uploads()),
        *_objects(wreck),
    ]


def too_large(root: Path, bound: int) -> list[str]:
    """Name the caches that take more of the disk than they may."""
    sizes = {cache: _size(cache) for cache in root.glob("*/cache")}
    return [f"{cache} takes {size} bytes" for cache, size in sizes.items() if size > bound]


def _directories(root: Path) -> Iterator[str]:
    patterns = ("*/runs/*", "*/work/experiments/*", "*/remains/*", "*/errands/*")
    return (str(found) for pattern in patterns for found in root.glob(pattern))


def _mounts(root: Path) -> Iterator[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return (f"mount {line.split()[4]}" for line in lines if f"{root}/" in line)


def _runs(wreck: Wreck) -> set[str]:
    """Return the ids of the runs that ended their experiments."""
    claims = (wreck.claim(key) for key in wreck.kinds)
    return {claim["owner"]["run"] for claim in claims if claim is not None}


def _groups(runs: set[str]) -> Iterator[str]:
    homes = hierarchies.homes()
    for home in {*homes.v1.values(), homes.v2} - {""}:
        for group in Path(home).glob(f"{PREFIX}*"):
            if group.name.removeprefix(PREFIX) in runs:
                yield f"control group {group}"


def _locks(root: Path) -> Iterator[str]:
    """Cores, memory and cards are given out under locks of files."""
    for file in root.glob("*-locks/*"):
        with file.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"lock {file}"


def _dead(wreck: Wreck) -> list[Path]:
    if isinstance(wreck.broker, LocalQueue):
        return []  # they are among what lies at the broker
    return list(wreck.root.glob("*/dead-letters/**/*"))


def _objects(wreck: Wreck) -> Iterator[str]:
    """Of each experiment there is what it was told to leave, whole, and the claim record."""
    for key in wreck.kinds:
        place = f"experiments/{key}/"
        wanted = {f"{place}{label}.tar" for label in _OBJECTS} | {f"{place}_claim.{key}.json"}
        yield from (f"object {name}" for name in set(wreck.shelf.names(place)) - wanted)


def _size(folder: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))
