"""``studio-runner detach``: end the daemon, and leave what runs to the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import ask_once

_ABOUT = (
    "End the daemon within two seconds and leave its runs alone: the next one with the same "
    "--state-dir adopts them. Runs that nobody adopts end after the daemon's --orphan-timeout. "
    "Not for a container, whose runs end with it: drain there."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Detach. Raises NoDaemon."""
    settings, chosen = ClientCommand("detach", _ABOUT, "", arguments=add_json).parse(argv, environ)
    answer = anyio.run(lambda: ask_once(settings, "detach"))
    running = int(answer["running"])
    if chosen.json:
        show.as_json({"detached": True, "running": running})
    else:
        whom = "no run" if running == 0 else f"{running} run{'' if running == 1 else 's'}"
        print(f"detached: the daemon ends and leaves {whom} to the next one")
    return 0
