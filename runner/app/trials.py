"""Tries a sandbox by a real start: something that must not see a directory, and ends well."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking
from runner.app.places import Places
from runner.errors import RunnerError
from runner.lifecycle.runs.run import Run, RunSpec
from runner.model import Bytes, Cause
from runner.sandboxes.base import Command, Sandbox

_PATIENCE = timedelta(seconds=30)
_LIMIT = blocking.Limit(1)
_HIDDEN = "hidden"
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


def _script(sandbox: Sandbox) -> str:
    looks = f"! test -e {_HIDDEN}/secret && " if sandbox.hides else ""
    return f"{looks}test -e /proc/self"


async def _tried(sandbox: Sandbox, command: Command) -> str:
    place = command.cwd
    run = await Run.start(
        RunSpec(
            run_id=f"trial-{place.name}-{os.getpid()}",
            directory=place / "run",
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
    return Path(os.path.realpath(state), f".trial-{secrets.token_hex(8)}")


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
