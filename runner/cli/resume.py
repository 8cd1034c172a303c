"""``studio-runner resume``: have the daemon claim again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import ask_once

_ABOUT = "Let the daemon claim experiments again after studio-runner suspend."


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Resume; exit status 1 where somebody else still forbids it. Raises NoDaemon."""
    settings, chosen = ClientCommand("resume", _ABOUT, "", arguments=add_json).parse(argv, environ)
    answer = anyio.run(lambda: ask_once(settings, "resume"))
    others = " and by ".join(answer["suspended_by"])
    if chosen.json:
        show.as_json(answer)
    elif others:
        print(f"the daemon is still suspended by {show.line(others)}")
    else:
        print("resumed: experiments are claimed")
    return 1 if others else 0
