"""Tries a sandbox by a real start: something that must not see a directory, and ends well."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio

from runner import blocking, log
from runner.app import scratch
from runner.app.places import Places
from runner.errors import RunnerError
from runner.lifecycle.runs.run import Run, RunGone, RunSpec
from runner.model import Bytes, Cause
from runner.removal import remove_tree
from runner.sandboxes.base import Command, Sandbox
from runner.sandboxes.plain import SCRATCH

_log = log.get_logger(__name__)

_PATIENCE = timedelta(seconds=30)
_LIMIT = blocking.Limit(1)
_HIDDEN, _RUN = "hidden", "run"
_PREFIX = ".trial-"
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
#: What an image holds at least, for programs of this machine that are shown in it.
_FOLDERS = ("dev", "etc", "proc", "sys", "tmp", "var/tmp", "root", "run")
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib64", "lib32")


async def trial(
    sandbox: Sandbox, places: Places, *, image: Path | None = None, network: bool = True
) -> str:
    """Run something that must not see a directory; return what went wrong, or nothing.

    A sandbox of images is tried with ``image``; without one with the programs of this machine, in
    an image that is made for the purpose and holds nothing.
    """
    place = await blocking.call(lambda _: _new_place(places.state), limit=_LIMIT)
    try:
        await blocking.call(lambda _: _furnish(place), limit=_LIMIT)
        command = Command(
            argv=("/bin/sh", "-c", _script(sandbox)),
            cwd=place,
            env=_ENV,
            writable=(place,),
            hidden=(place / _HIDDEN,),
            network=network,
            image=image,
            tools=_programs() if sandbox.images and image is None else (),
            identity=places.identity,
        )
        if sandbox.images and image is None:
            made = await blocking.call(lambda _: _little_image(place / "image"), limit=_LIMIT)
            command = replace(command, image=made)
        return await _tried(sandbox, command)
    except (RunnerError, OSError) as error:
        return str(error)
    finally:
        with anyio.CancelScope(shield=True):
            await blocking.call(lambda _: shutil.rmtree(place, ignore_errors=True), limit=_LIMIT)


async def sweep(places: Places, working_dir: Path) -> None:
    """End and remove what daemons left that were killed while they tried something.

    Only for who has the state and the working directory to itself, and before its first trial:
    whoever else tries anything does so in directories of his own.
    """
    for place in await blocking.call(partial(_left, places.state, working_dir), limit=_LIMIT):
        try:
            await _end(place / _RUN)
            await blocking.call(partial(_remove, place), limit=_LIMIT)
        except RunnerError as error:
            _log.warning("what an earlier daemon tried is not removed", trouble=str(error))
        else:
            _log.info("what an earlier daemon tried is removed", path=str(place))


def _left(state: Path, working_dir: Path, _: blocking.Stop) -> list[Path]:
    for path in scratch.sweep(working_dir):
        _log.info("what an earlier doctor tried is removed", path=str(path))
    return [*state.glob(f"{_PREFIX}*"), *working_dir.glob(f"{SCRATCH}*")]


def _remove(place: Path, stop: blocking.Stop) -> None:
    remove_tree(place, stop.check)


async def _end(directory: Path) -> None:
    """End a trial whose supervisor lives on, without its daemon. Raises RunnerError."""
    try:
        run = await Run.adopt(directory)
    except RunGone:
        return
    try:
        # By its supervisor, who waits for all that it started: nobody else may be quick to do so.
        await run.stop(Cause.DRAINED, grace=timedelta(0))
        with anyio.move_on_after(_PATIENCE.total_seconds()):
            await run.wait()
            return
        await run.end()
    finally:
        run.leave()


def _script(sandbox: Sandbox) -> str:
    looks = f"! test -e {_HIDDEN}/secret && " if sandbox.hides else ""
    return f"{looks}test -e /proc/self"


async def _tried(sandbox: Sandbox, command: Command) -> str:
    place = command.cwd
    run = await Run.start(
        RunSpec(
            run_id=f"trial-{place.name}-{os.getpid()}",
            directory=place / _RUN,
            launch=sandbox.launch(command),
            output=place / "output",
            output_limit=Bytes(1 << 16),
            limits={Cause.TIME_LIMIT: _PATIENCE},
            grace=timedelta(0),
            orphan_timeout=_PATIENCE,
        )
    )
    try:
        ended = await run.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await run.end()
            await run.forget()
    if ended.code == 0:
        return ""
    return ended.detail or f"a trial ended with code {ended.code} and signal {ended.signal}"


def _new_place(state: Path) -> Path:
    """Return a path that is not there yet: who is cancelled before it is made leaves nothing."""
    return Path(os.path.realpath(state), f"{_PREFIX}{secrets.token_hex(8)}")


def _furnish(place: Path) -> None:
    place.mkdir(mode=0o700)
    place.chmod(0o711)
    (place / _HIDDEN).mkdir()
    (place / _HIDDEN / "secret").touch()


def _programs() -> tuple[Path, ...]:
    """Return this machine's directories of programs, but for links among them."""
    found = (Path("/", name) for name in _PROGRAMS)
    return tuple(path for path in found if path.is_dir() and not path.is_symlink())


def _little_image(root: Path) -> Path:
    """Make an image in which this machine's programs have their places."""
    for name in (*_FOLDERS, *(path.name for path in _programs())):
        (root / name).mkdir(mode=0o755, parents=True)
    for path in (Path("/", name) for name in _PROGRAMS):
        if path.is_symlink():
            (root / path.name).symlink_to(path.readlink())
    return root
