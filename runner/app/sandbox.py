"""Which sandbox experiments run in: the one that is asked for, or the best that starts here."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import anyio

from runner import blocking, log
from runner.app.hidden import credentials
from runner.app.places import Places
from runner.errors import Misconfigured, RunnerError
from runner.lifecycle.run import Run, RunSpec
from runner.model import Bytes, Cause
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Command, Sandbox
from runner.settings import Settings

_log = log.get_logger(__name__)

AUTO = "auto"
#: The best first; the last one starts everywhere.
_TRIED = ("bwrap", "plain")
_PATIENCE = timedelta(seconds=30)
_LIMIT = blocking.Limit(1)
_HIDDEN = "hidden"
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A sandbox, and in one sentence why it is this one."""

    sandbox: Sandbox
    why: str


async def chosen(settings: Settings, places: Places) -> Sandbox:
    """Return the sandbox, which has started something, and log why it is this one.

    Raises Misconfigured where none of what is asked for starts, and where ``auto`` leaves cloud
    credentials open to experiments.
    """
    choice = await choose(settings.sandbox, places)
    _log.info(choice.why, sandbox=choice.sandbox.name)
    _check_open(settings, places, choice.sandbox)
    return choice.sandbox


async def choose(name: str, places: Places) -> Choice:
    """Try what is called ``name``, or one after the other. Raises Misconfigured.

    Plain runs need nothing, so they are not tried when they are asked for.
    """
    if name != AUTO:
        sandbox = _load(name)
        trouble = "" if name == _TRIED[-1] else await trial(sandbox, places)
        if trouble:
            raise Misconfigured(
                f"--sandbox {name} cannot be had on this machine: {trouble}; let it, or choose "
                f"another one ({', '.join(sorted(SANDBOXES))} or {AUTO})"
            )
        return Choice(sandbox, f"experiments run in the sandbox {name!r}, as --sandbox says")
    troubles = []
    for one in _TRIED[:-1]:
        sandbox = _load(one)
        trouble = await trial(sandbox, places)
        if not trouble:
            return Choice(sandbox, f"experiments run in the sandbox {one!r}: it starts here")
        troubles.append(f"{one} does not start: {trouble}")
    last = _TRIED[-1]
    return Choice(_load(last), f"experiments run in the sandbox {last!r}: {'; '.join(troubles)}")


async def trial(sandbox: Sandbox, places: Places) -> str:
    """Run something that must not see a directory; return what went wrong, or nothing."""
    place = await blocking.call(lambda _: _scratch(places.state), limit=_LIMIT)
    try:
        return await _tried(sandbox, places, place)
    except (RunnerError, OSError) as error:
        return str(error)
    finally:
        with anyio.CancelScope(shield=True):
            await blocking.call(lambda _: shutil.rmtree(place), limit=_LIMIT)


async def _tried(sandbox: Sandbox, places: Places, place: Path) -> str:
    secret = place / _HIDDEN
    command = Command(
        argv=("/bin/sh", "-c", f"! test -e {secret.name}/secret && test -e /proc/self"),
        cwd=place,
        env=_ENV,
        writable=(place,),
        hidden=(secret,),
        identity=places.identity,
    )
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


def _scratch(state: Path) -> Path:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix=".trial-", dir=state)))
    place.chmod(0o711)
    (place / _HIDDEN).mkdir()
    (place / _HIDDEN / "secret").touch()
    return place


def _load(name: str) -> Sandbox:
    return cast("Sandbox", SANDBOXES.load(name)())


def check_name(settings: Settings) -> None:
    """Raise Misconfigured for a sandbox that there is not; nothing is started."""
    if settings.sandbox != AUTO:
        SANDBOXES.load(settings.sandbox)


def _check_open(settings: Settings, places: Places, sandbox: Sandbox) -> None:
    """Nobody meant that experiments read the credentials where nobody chose the sandbox."""
    if sandbox.hides or places.identity is not None or settings.sandbox != AUTO:
        return
    readable = next((path for path in credentials(settings) if _holds_any(path)), None)
    if readable is not None:
        raise Misconfigured(
            f"no sandbox that hides anything starts on this machine, so experiments could read "
            f"{readable}: allow user namespaces or run the daemon as root with --run-as USER, or "
            "accept it with --sandbox plain"
        )


def _holds_any(path: Path) -> bool:
    try:
        return path.is_file() or any(not one.name.startswith(".") for one in path.iterdir())
    except OSError:
        return False
