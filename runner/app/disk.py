"""Has an eye kept on the disk while the daemon lives: what outgrows its share of it is ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from runner.app.options import default_disk
from runner.environments import leftovers
from runner.environments.bounded import Watched
from runner.lifecycle.board import Board
from runner.lifecycle.disk.watch import DiskWatch
from runner.redaction import Redactor
from runner.resources.base import HostProbe
from runner.settings import Settings


def disk_watch(settings: Settings, board: Board, host: HostProbe, redactor: Redactor) -> DiskWatch:
    """Return the watch over all workspaces and builds, which looks from ``watch`` on."""
    return DiskWatch(
        board,
        settings.working_dir,
        default_disk(settings),
        redactor,
        shortage=host.disk_below_floor,
    )


def watched_builds(settings: Settings, eye: DiskWatch) -> Watched:
    """Return what has builds of environments ended that use more than they may."""

    def watched(
        roots: Sequence[Path], mark: str, over: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        return eye.guard(
            "the build of its environment",
            dict(zip(roots, ("environment", "downloads"), strict=True)),
            settings.max_environment_size,
            over,
            holders=lambda: leftovers.marked(mark),
        )

    return watched
