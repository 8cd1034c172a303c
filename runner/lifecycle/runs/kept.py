"""Workspaces of failed experiments, kept for a while so that a person can look at them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from runner import blocking, log, own_files
from runner.errors import HostFault, host_fault
from runner.lifecycle.chore import Chore
from runner.lifecycle.disk.usage import measure
from runner.model import Bytes
from runner.own_files import Count, Moment
from runner.removal import remove_tree

_log = log.get_logger(__name__)

KEPT = "kept"
_NOTE = ".json"
_LIMIT = blocking.Limit(1)
#: Seconds between two looks at what is due, and at the room that others need.
PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class Remnant:
    """One workspace that is kept; written beside it."""

    key: str
    project: str
    queue: str
    attempt: int
    cause: str
    #: Redacted.
    detail: str
    #: Seconds since the epoch.
    ended: Moment
    #: Where it lies.
    path: str
    #: Of the disk.
    bytes: Count = 0


@dataclass(frozen=True)
class Kept:
    """``<working-dir>/kept``, of which the daemon's user alone sees anything."""

    root: Path
    #: How long each is kept; nothing: none is, and those of before go.
    span: timedelta
    #: Bytes that experiments need, and the disk lacks.
    shortage: Callable[[], Bytes]
    #: What could not be removed.
    _stuck: set[Path] = field(default_factory=set)

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self.span > timedelta(0)

    def place_for(self, run: str) -> Path | None:
        """Return where the workspace of this run would be kept; ``None``: there is no room."""
        if not self.is_on:
            return None
        if self.shortage() > 0:
            _log.warning("a failed workspace is not kept: the disk has no room", run=run)
            return None
        return self.root / run

    async def keep(self, workspace: Path, remnant: Remnant) -> None:
        """Move a workspace of which nothing is in use any more. Raises HostFault."""
        try:
            await blocking.call(lambda stop: self._keep(workspace, remnant, stop), limit=_LIMIT)
        except OSError as error:
            raise host_fault(f"{workspace} cannot be kept", error) from error

    def _keep(self, workspace: Path, remnant: Remnant, stop: blocking.Stop) -> None:
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.root.chmod(0o700)
        size = measure({workspace: ""}, stop.check).charge
        place = Path(remnant.path)
        note = place.with_name(place.name + _NOTE)
        try:
            note.touch(mode=0o600)
            note.write_text(json.dumps({**asdict(remnant), "bytes": size}))
            # Nobody else's, wherever it is looked at from, before it is where people look for it.
            workspace.chmod(0o700)
            workspace.rename(place)
        except OSError:
            note.unlink(missing_ok=True)
            raise

    async def give_way(self, wanted: Bytes) -> None:
        """Remove the oldest ones, until about so many bytes are free."""
        freed = 0
        for remnant in await self._listed():
            if freed >= wanted:
                return
            if await self._remove(Path(remnant.path)):
                freed += remnant.bytes
                _log.info("a kept workspace made room", key=remnant.key, path=remnant.path)

    async def look_after(self) -> None:
        """Remove what is due, and what is in the way, for as long as we are let."""
        unknown = self._unknown()  # now, before anything of this daemon can be on its way here
        work = partial(self._look_after, unknown)
        await Chore("looking after kept workspaces", work).keep()

    async def _look_after(self, unknown: list[Path]) -> None:
        while True:
            unknown = [path for path in unknown if not await self._remove(path)]
            await self.expire(time.time())
            if (missing := self.shortage()) > 0:
                await self.give_way(missing)
            await anyio.sleep(PAUSE)

    async def expire(self, now: float) -> None:
        """Remove what was kept for long enough."""
        span = self.span.total_seconds()
        for remnant in await self._listed():
            # A clock that was set back keeps nothing for ever.
            is_due = not now - span < remnant.ended <= now + span
            if is_due and await self._remove(Path(remnant.path)):
                _log.info("a kept workspace is gone", key=remnant.key, path=remnant.path)

    def _unknown(self) -> list[Path]:
        """Return what a daemon left that died while it kept or removed something."""
        known = {Path(remnant.path).name for remnant in self.remnants()}
        return [path for path in _listed(self.root) if path.name.removesuffix(_NOTE) not in known]

    def remnants(self) -> Sequence[Remnant]:
        """Return what is kept, oldest first."""
        return remnants(self.root)

    async def _listed(self) -> Sequence[Remnant]:
        # In a thread: there may be thousands.
        return await blocking.call(lambda _: self.remnants(), limit=_LIMIT)

    async def _remove(self, place: Path) -> bool:
        """Remove one; what resists is said once, tried again, and keeps no other from going."""

        def remove(stop: blocking.Stop) -> None:
            remove_tree(place, stop.check)
            place.with_name(place.name + _NOTE).unlink(missing_ok=True)

        try:
            await blocking.call(remove, limit=_LIMIT)
        except (HostFault, OSError) as error:
            if place not in self._stuck:
                self._stuck.add(place)
                _log.warning("a kept workspace is not removed", trouble=str(error))
            return False
        self._stuck.discard(place)
        return True


def remnants(root: Path) -> Sequence[Remnant]:
    """Return what is kept below ``root``, oldest first; needs no daemon."""
    return sorted(_read(root), key=lambda one: one.ended)


def shown(remnant: Remnant, span: timedelta) -> dict[str, Any]:
    """Return it as status tells it."""
    return {**asdict(remnant), "until": remnant.ended + span.total_seconds()}


def _read(root: Path) -> Iterator[Remnant]:
    for note in _listed(root):
        place = note.with_name(note.name.removesuffix(_NOTE))
        if note.suffix == _NOTE and place.is_dir():
            with suppress(OSError, ValueError):
                # Of a later version it may say more.
                said = own_files.read_as(note, Remnant)
                yield replace(said, path=str(place))


def _listed(root: Path) -> Sequence[Path]:
    with suppress(OSError):  # there is none, or it is not ours to look into
        return sorted(root.iterdir())
    return ()
