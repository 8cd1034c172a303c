"""``studio-runner fetch``: the artifacts of an experiment onto this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.client.fetching import LABELS, fetch
from runner.errors import RunnerError
from runner.settings.parser import Parser

_ABOUT = (
    "Unpack what an experiment left in its store: each artifact below DIR in a place of its name. "
    f"Without ARTIFACT all that were stored, which are some of {', '.join(LABELS)} and the "
    "experiment's own; workspace is what was submitted."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Fetch, and print where things are."""
    command = ClientCommand(
        "fetch",
        _ABOUT,
        "KEY [ARTIFACT…]",
        settings=stores.SETTINGS,
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    to = Path(chosen.to or chosen.key).expanduser()
    with stores.opened(settings, chosen, environ) as shops:
        shop = stores.knowing(shops, chosen.key)
        if shop is None:
            raise RunnerError(f"the experiment {chosen.key!r} is not known here")
        places = fetch(shop, chosen.key, chosen.artifacts, to, replace=chosen.replace)
    if chosen.json:
        show.as_json({"key": chosen.key, "artifacts": {one.name: str(one) for one in places}})
    else:
        print("\n".join(map(str, places)))
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("artifacts", metavar="ARTIFACT", nargs="*", help="such as modeldir")
    parser.add_argument("--to", metavar="DIR", help="default: a directory called KEY")
    parser.add_argument(
        "--replace", action="store_true", help="in the place of what was fetched before"
    )
    stores.add_options(parser, "every --local-store-root")
    add_json(parser)
