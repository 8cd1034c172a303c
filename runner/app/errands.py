"""Runs what images take, as experiments are run: supervised, limited, as their user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking, log
from runner.environments.whose import builder
from runner.errors import HostFault, Misconfigured, host_fault
from runner.images.base import Ended, Errand
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes, Cause, Identity
from runner.removal import remove_tree
from runner.sandboxes.base import Bounds, Command, Sandbox

_log = log.get_logger(__name__)

_OUTPUT = Bytes(1 << 20)
_LIMIT = blocking.Limit(2)
_GRACE = timedelta(seconds=2)
#: Of a daemon that died; the next one begins anew.
_ORPHANED = timedelta(minutes=1)
#: What a shell says of a program that is not there.
_NOT_THERE = 127


@dataclass(frozen=True, slots=True)
class RunErrands:
    """Errands with their records below ``root``, which is the daemon's alone."""

    root: Path
    #: What runs on this machine runs in here, and
    machine: Sandbox
    #: in there what runs in an image; ``None``: nothing can.
    inside: Sandbox | None
    identity: Identity | None
    #: What they must not see of this machine.
    hidden: tuple[Path, ...] = ()
    bounds: Bounds = Bounds()  # noqa: RUF009 - frozen

    def open(self) -> None:
        """Forget what a dead daemon left; its errands end by themselves. Blocks."""
        _remove(self.root)
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)

    async def run(self, errand: Errand) -> Ended:
        """Run it to its end; see ``Errands``."""
        place = self.root / errand.name
        identity = errand.identity or builder(self.identity)
        try:
            await blocking.call(lambda _: _furnish(place, identity), limit=_LIMIT)
            ended = await self._run(errand, place)
            text = await blocking.call(lambda _: _text(place / "output"), limit=_LIMIT)
        except OSError as error:
            raise host_fault(f"nothing can be run for images in {place}", error) from error
        finally:
            with anyio.CancelScope(shield=True):
                await blocking.call(lambda _: _remove(place), limit=_LIMIT)
        return _ended(ended, text)

    async def _run(self, errand: Errand, place: Path) -> Exit:
        run = await Run.start(
            RunSpec(
                run_id=f"{errand.name}-{os.getpid()}",
                directory=place / "run",
                launch=self._sandbox(errand).launch(self._command(errand, place)),
                output=place / "output",
                output_limit=_OUTPUT,
                limits={Cause.TIME_LIMIT: errand.patience},
                grace=_GRACE,
                orphan_timeout=_ORPHANED,
                bounds=self.bounds,
            )
        )
        try:
            return await run.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await run.end()
                await run.forget()

    def _sandbox(self, errand: Errand) -> Sandbox:
        if errand.image is None:
            return self.machine
        if self.inside is None:
            raise Misconfigured("nothing can be started in a container image on this machine")
        return self.inside

    def _command(self, errand: Errand, place: Path) -> Command:
        scratch = errand.scratch or place / "scratch"
        return Command(
            argv=errand.argv,
            cwd=scratch,
            env=errand.env,
            writable=(scratch, *errand.writable),
            readonly=errand.readonly,
            hidden=self.hidden,
            image=errand.image,
            identity=errand.identity or builder(self.identity),
        )


def _remove(tree: Path) -> None:
    """Remove what a hostile image may have filled; what resists is told, and keeps nobody up."""
    try:
        remove_tree(tree)
    except HostFault as error:
        _log.warning("something is left of what was run for images", trouble=str(error))


def _furnish(place: Path, identity: Identity | None) -> None:
    place.mkdir(mode=0o711)
    (place / "scratch").mkdir(mode=0o700)
    if identity is not None:
        os.chown(place / "scratch", identity.uid, identity.gid)


def _text(output: Path) -> str:
    with output.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _OUTPUT))
        return file.read().decode(errors="replace")


def _ended(end: Exit, text: str) -> Ended:
    said = f"{text}\n{end.detail}".strip() if end.detail else text
    if end.reason == exits.SANDBOX_UNAVAILABLE:
        return Ended(None, said, started=False)
    if end.reason == exits.START_FAILED:
        return Ended(_NOT_THERE, said)
    return Ended(end.code if end.stopped_for is None else None, said)
