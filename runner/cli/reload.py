"""``studio-runner reload``: have the daemon execute itself anew; its runs go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import Item, ask_once
from runner.control.client import NoDaemon
from runner.errors import RunnerError
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Let the daemon execute itself anew in place, with the same options and environment: a newly "
    "installed version takes over, and what was changed in its --config file counts. Its runs go "
    "on. Nothing happens when the new one would not start, or when an option changes that what "
    "runs depends on; the reason is said then. Returns when the new one serves, and says what has "
    "changed. The same as the signal HUP."
)
#: What scripts are told.
_TOLD = ("reloadable", "reloaded", "pid", "running", "changes")
_PAUSE = 0.1
#: Open receives are waited for, up to 25 s, and the new daemon reads all run records.
_LONGEST = 120.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Reload. Raises NoDaemon, RunnerError with the daemon's reason why not."""
    command = ClientCommand("reload", _ABOUT, "[--check] [--json]", arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    answer = anyio.run(_look if chosen.check else _reload, settings)
    if chosen.json:
        show.as_json({name: answer[name] for name in _TOLD if name in answer})
        return 0
    if chosen.check:
        count = len(answer["changes"])
        changed = f"{count} option{'' if count == 1 else 's'} would change" if count else "as it is"
        print(f"it can be reloaded: {changed}")
    else:
        print(f"reloaded: process {answer['pid']} serves again, {answer['running']} under way")
    for change in answer["changes"]:
        print(f"  {show.line(change['sentence'])}")
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "--check",
        action="store_true",
        help="say what a reload would change, or why there can be none, and do nothing",
    )
    add_json(parser)


async def _look(settings: Settings) -> Item:
    answer = await ask_once(settings, "reload", check=True)
    if answer["reason"]:
        raise RunnerError(f"it cannot be reloaded: {answer['reason']}")
    return {"reloadable": True, **answer}


async def _reload(settings: Settings) -> Item:
    answer = await ask_once(settings, "reload")
    if not answer["reloading"]:
        raise RunnerError(f"not reloaded: {answer['reason']}; the options of before count")
    daemon = await _next(settings, answer)
    told = {"reloaded": True, "pid": int(daemon["pid"]), "running": int(daemon["running"])}
    return {**told, "changes": answer["changes"]}


async def _next(settings: Settings, before: Item) -> Item:
    """Return what the new daemon says of itself, as soon as it serves."""
    with anyio.move_on_after(_LONGEST):
        while True:
            daemon = await _alive(settings)
            if daemon is not None and daemon["started"] != before["started"]:
                return daemon
            if daemon is not None and daemon["draining"]:
                raise RunnerError("not reloaded: the daemon was told to drain")
            if daemon is None and _is_gone(before["pid"]):
                raise NoDaemon("the daemon has ended instead: its log says why; its runs go on")
            await anyio.sleep(_PAUSE)
    raise NoDaemon(f"no new daemon serves within {_LONGEST:.0f} s: its log says why")


async def _alive(settings: Settings) -> Item | None:
    """Return nothing while there is nobody to answer, between the one and the other."""
    try:
        return await ask_once(settings, "alive")
    except NoDaemon:
        return None


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()
