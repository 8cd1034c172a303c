"""``studio-runner suspend``: have the daemon claim nothing for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import ask_once

_ABOUT = (
    "Let the daemon claim nothing until studio-runner resume, also when it is started again "
    "meanwhile. What runs goes on."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Suspend. Raises NoDaemon."""
    settings, chosen = ClientCommand("suspend", _ABOUT, "", arguments=add_json).parse(argv, environ)
    answer = anyio.run(lambda: ask_once(settings, "suspend"))
    if chosen.json:
        show.as_json(answer)
    else:
        print(
            f"suspended: nothing is claimed until studio-runner resume; {answer['running']} go on"
        )
    return 0
