"""Beats as runners write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner.fleet.beat import Beat, Standing, Underway
from runner.fleet.place import FleetPlace, place_of
from runner.stores.base import StoreOptions

EARLY = 1_700_000_000.0


def beat(host: str = "box", state: str = Standing.TAKING, interval: float = 60.0) -> Beat:
    """Return what a runner tells."""
    return Beat(
        host=host,
        owner="0a1b2c3d",
        state=state,
        since=EARLY,
        started=EARLY,
        written=EARLY + 5,
        interval=interval,
        runner="1.2.3",
        running=(Underway(key="k1", queue="q", phase="running", since=EARLY, gpus=1),),
        experiments=1,
        gpus_used=1,
        gpus_total=4,
        queues=("q",),
    )


@dataclass
class Teller:
    """Stands for a daemon, and counts how often it is asked."""

    host: str = "box"
    asked: int = 0

    def now(self) -> Beat:
        """Tell how it stands."""
        self.asked += 1
        return beat(self.host)

    def farewell(self) -> Beat:
        """Tell that it ends."""
        return beat(self.host, Standing.ENDED)


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    while not is_so():  # noqa: ASYNC110 - of what is counted nobody is told
        await anyio.sleep(0.005)


def local(root: Path) -> tuple[FleetPlace, StoreOptions]:
    """Return a folder of a directory, and what opens it."""
    return place_of(f"file://{root}"), StoreOptions(local_roots=(root,))
