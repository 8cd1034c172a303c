"""``studio-runner cancel``: stop an experiment that runs or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import ask_once
from runner.client.shop import Shop
from runner.control.client import NoDaemon
from runner.lifecycle.ownership.record import State
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Stop an experiment. One that the daemon on this machine runs ends at once; any other is "
    "marked as stopped in its store, where whoever runs it looks every few seconds."
)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Cancel; exit status 1 when there was nothing to cancel."""
    command = ClientCommand(
        "cancel",
        _ABOUT,
        "KEY",
        settings=("state_dir", *stores.SETTINGS),
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    cancelled, reason = anyio.run(_ask, settings, chosen.key)
    if not cancelled:
        with stores.opened(settings, chosen, environ) as shops:
            shop = stores.knowing(shops, chosen.key)
            if shop is not None:
                cancelled, reason = _mark(shop, chosen.key)
            else:
                reason = f"{reason}; {stores.unknown(chosen.key, shops, chosen, environ)}"
    if chosen.json:
        show.as_json({"key": chosen.key, "cancelled": cancelled, "reason": reason})
    elif cancelled:
        print(f"{chosen.key}: {reason or 'cancelled'}")
    else:
        show.note(f"studio-runner: {chosen.key} was not cancelled: {reason}")
    return 0 if cancelled else 1


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY")
    stores.add_options(parser, "every --local-store-root")
    add_json(parser)


def _mark(shop: Shop, key: str) -> tuple[bool, str]:
    record = shop.claim(key)
    if record is not None and record.state is State.ENDED:
        cause = record.outcome.cause if record.outcome else "without an outcome"
        return False, f"it has ended already ({cause})"
    if shop.mark_stopped(key):
        return True, f"marked as stopped in {shop}"
    if shop.experiment(key) is None:
        return False, f"{shop} has no record of it in which runners could see the wish"
    return False, "it has ended already"


async def _ask(settings: Settings, key: str) -> tuple[bool, str]:
    try:
        answer = await ask_once(settings, "cancel", key=key)
    except NoDaemon as error:
        return False, str(error)
    return bool(answer.get("cancelled")), str(answer.get("reason", ""))
