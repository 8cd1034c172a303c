"""Caches give way: what is kept for speed goes before the disk is too full to claim anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import anyio

from runner import log
from runner.errors import RunnerError
from runner.model import Bytes

_log = log.get_logger(__name__)

PAUSE = 10.0


class Keeps(Protocol):
    """A cache, as far as its giving way is concerned."""

    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses."""


async def keep_room(
    shortage: Callable[[], Bytes], keeps: Sequence[Keeps], *, pause: float = PAUSE
) -> None:
    """Free what is missing, from the first of ``keeps`` on, for as long as we are let.

    After each the disk is measured again: other programs write to it, too, and what was removed
    may still be open somewhere.
    """
    while True:
        for one in keeps:
            missing = shortage()
            if missing <= 0:
                break
            try:
                await one.give_way(missing)
            except RunnerError as error:
                _log.warning("no room made", trouble=str(error))
                continue
            freed = missing - shortage()
            if freed > 0:
                _log.info("caches gave way to experiments", freed=freed)
        await anyio.sleep(pause)


def on_the_disk_of(place: Path, keeps: Sequence[tuple[Keeps, Path]]) -> Sequence[Keeps]:
    """Return those whose directory is on the same file system as ``place``."""
    try:
        device = place.stat().st_dev
        return [one for one, root in keeps if root.exists() and root.stat().st_dev == device]
    except OSError:
        return []
