"""Has failed workspaces kept for a while, in room that no experiment needs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from anyio.abc import TaskGroup

from runner.lifecycle.board import Board
from runner.lifecycle.chore import Chore
from runner.lifecycle.runs.kept import KEPT, Kept, remnants
from runner.model import Allocation, Bytes
from runner.resources.base import HostProbe
from runner.resources.space import SPACE
from runner.settings import Settings


def root_of(settings: Settings) -> Path:
    """Return where they lie."""
    return settings.working_dir / KEPT


def kept(settings: Settings, board: Board, host: HostProbe, background: TaskGroup) -> Kept:
    """Return what keeps them, and have it give room as long as ``background`` lives."""

    def shortage() -> Bytes:
        return Bytes(max(host.disk_shortage(), _missing(settings, board)))

    found = Kept(root_of(settings), settings.keep_failed, shortage)
    if found.is_on:
        found.root.mkdir(mode=0o700, exist_ok=True)
    if found.root.exists():
        background.start_soon(Chore("looking after kept workspaces", found.look_after).once)
    return found


def held(settings: Settings) -> Allocation:
    """Return the room that they take and give up, for whoever measures what there is in all."""
    taken = sum(one.bytes for one in remnants(root_of(settings)))
    return Allocation(0, Bytes(0), Bytes(taken))


def _missing(settings: Settings, board: Board) -> Bytes:
    """Return what the disk lacks of all that running experiments may still write, and the floor."""
    with suppress(OSError):
        found = SPACE.of(settings.working_dir)
        floor = settings.min_free_disk.of(Bytes(found.f_blocks * found.f_frsize))
        promised = sum(
            max(0, entry.record.allocation.disk - (entry.disk_held or 0)) for entry in board
        )
        return Bytes(floor + promised - found.f_bavail * found.f_frsize)
    return Bytes(0)
