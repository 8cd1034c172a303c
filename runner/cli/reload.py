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

_ABOUT = (
    "Let the daemon execute itself anew in place, with the same options and environment: a newly "
    "installed version takes over, and what was changed in its --config file counts. Its runs go "
    "on. Nothing happens when the new one would not start; the reason is said then. Returns when "
    "the new one serves. The same as the signal HUP."
)
_PAUSE = 0.1
#: Open receives are waited for, up to 25 s, and the new daemon reads all run records.
_LONGEST = 120.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Reload. Raises NoDaemon, RunnerError with the daemon's reason why not."""
    settings, chosen = ClientCommand("reload", _ABOUT, "", arguments=add_json).parse(argv, environ)
    pid, running = anyio.run(_reload, settings)
    if chosen.json:
        show.as_json({"reloaded": True, "pid": pid, "running": running})
    else:
        print(f"reloaded: process {pid} serves again, {running} under way")
    return 0


async def _reload(settings: Settings) -> tuple[int, int]:
    answer = await ask_once(settings, "reload")
    if not answer["reloading"]:
        raise RunnerError(f"not reloaded: {answer['reason']}")
    with anyio.move_on_after(_LONGEST):
        while True:
            daemon = await _alive(settings)
            if daemon is not None and daemon["started"] != answer["started"]:
                return int(daemon["pid"]), int(daemon["running"])
            if daemon is not None and daemon["draining"]:
                raise RunnerError("not reloaded: the daemon was told to drain")
            if daemon is None and _is_gone(answer["pid"]):
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
