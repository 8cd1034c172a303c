"""``studio-runner gpus``: the cards of this machine, how they do, and who has them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import ask_once, state_on_disk
from runner.control.client import NoDaemon
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = (
    "Show the cards of this machine: memory, use, temperature, free slots, who has them, and why "
    "one is not given out. Without a daemon it looks by itself, and takes nothing."
)
_SETTINGS = (
    *("state_dir", "lock_dir", "cpu_only", "gpu_probe", "gpu_slots_file", "gpu_noise"),
    "require_gpus",
)
_COLUMNS = ("card", "uuid", "memory", "use", "°C", "W", "slots free", "state", "held by")
_GIB = 1 << 30

Item = dict[str, Any]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the cards; exit status 0 also where there are none. Raises Misconfigured."""
    command = ClientCommand("gpus", _ABOUT, "[--json]", settings=_SETTINGS, arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    found = anyio.run(_find, settings, environ)
    _show(found, chosen)
    return 0


def _arguments(parser: Parser) -> None:
    add_json(parser)


async def _find(settings: Settings, environ: Mapping[str, str]) -> Item:
    try:
        return {"daemon": True, **await ask_once(settings, "gpus")}
    except NoDaemon:
        # Only who has no daemon to ask waits for the import of what looks.
        from runner.app.gpu_survey import survey  # noqa: PLC0415

        runs = state_on_disk(settings)["running"]
        return {"daemon": False, **await survey(settings, environ, runs)}


def _show(found: Item, chosen: Namespace) -> None:
    if chosen.json:
        show.as_json(found)
        return
    if found["why_no_gpus"]:
        print(f"No GPU is given out: {show.line(found['why_no_gpus'])}")
    if found["gpus"]:
        versions = {"driver": found["driver"], "CUDA up to": found["cuda"]}
        said = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
        show.table(show.line(f"GPUs{': ' * bool(said)}{said}"), _COLUMNS, map(_row, found["gpus"]))
    for card in found["gpus"]:
        if card["withheld"]:
            print(f"{show.line(card['uuid'])} is not given out: {show.line(card['withheld'])}")


def _row(card: Item) -> tuple[object, ...]:
    return (
        card["name"],
        card["uuid"],
        f"{card['used'] / _GIB:.1f} of {card['memory'] / _GIB:.1f} GiB",
        "" if card["utilization"] is None else f"{card['utilization']:.0%}",
        card["temperature"],
        "" if card["power"] is None else f"{card['power']:.0f}",
        f"{card['free_slots']} of {card['slots']}",
        _state(card),
        ", ".join(f"{one['key']} ({one['queue']})" for one in card["held_by"]),
    )


def _state(card: Item) -> str:
    if card["withheld"]:
        return "withheld"
    if card["held_by"]:
        return "shared" if card["free_slots"] else "busy"
    return "free" if card["free_slots"] else "taken"
