"""``studio-runner status``: what the daemon runs and has finished, or how one experiment stands."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from runner.cli import show, stores
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.daemon import HISTORY, ask_once, control_socket, state_on_disk
from runner.control.client import NoDaemon
from runner.redaction import Redactor
from runner.settings import Settings
from runner.settings.parser import Parser

if TYPE_CHECKING:
    from runner.client.standing import Standing

_ABOUT = (
    "Show what the daemon on this machine runs, has room for, and has finished. Without a daemon, "
    "show what the last one has left. With KEY, show how that experiment stands, wherever it runs: "
    "its store knows."
)
_SHOWN = 20


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the status; exit status 0 also when no daemon runs."""
    command = ClientCommand(
        "status",
        _ABOUT,
        "[--json] [--all | KEY]",
        settings=("state_dir", "working_dir", "keep_failed", *stores.SETTINGS),
        client_keys=stores.KEYS,
        arguments=_arguments,
    )
    settings, arguments = command.parse(argv, environ)
    if arguments.key:
        return _show_one(settings, arguments, environ)
    found = anyio.run(_find, settings)
    if arguments.json:
        show.as_json(found)
        return 0
    _show_daemon(found["daemon"], settings)
    _show_running(found["running"], has_daemon=bool(found["daemon"]))
    _show_kept(found.get("kept", ()))
    _show_recent(found["recent"] if arguments.all else found["recent"][-_SHOWN:])
    return 0


def _arguments(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY", nargs="?", help="of one experiment")
    stores.add_options(parser, "every --local-store-root")
    add_json(parser)
    parser.add_argument(
        "--all", action="store_true", help=f"all that ended lately, not the last {_SHOWN} alone"
    )


def _show_one(settings: Settings, arguments: Namespace, environ: Mapping[str, str]) -> int:
    """Ask the stores for one experiment, then this machine. Raises RunnerError: nobody knows it."""
    from runner.cli.standing import sentence  # noqa: PLC0415 - who asks the daemon needs no store
    from runner.client.results import given_back  # noqa: PLC0415 - likewise
    from runner.client.standing import standing  # noqa: PLC0415 - likewise
    from runner.lifecycle import history  # noqa: PLC0415 - likewise

    with stores.opened(settings, arguments, environ) as shops:
        found = next((one for shop in shops if (one := standing(shop, arguments.key))), None)
        if found is not None and found.state == "waiting":
            lately = history.read(settings.state_dir / HISTORY)
            why = given_back(lately, arguments.key, found.submitted)
            found = replace(found, detail=why)
        found = found or _lately(settings, arguments.key)
        if found is None:
            raise stores.unknown(arguments.key, shops, arguments, environ)
    if arguments.json:
        show.as_json(found.facts())
    else:
        print(f"{found.key}: {show.line(Redactor().redact(sentence(found)))}")
        if found.advice:
            print(found.advice)
    return 0


def _lately(settings: Settings, key: str) -> Standing | None:
    """Return what the daemon on this machine remembers: also of what it refused unclaimed."""
    from runner.client.standing import Standing  # noqa: PLC0415 - as above
    from runner.lifecycle import history  # noqa: PLC0415 - likewise

    ends = [one for one in history.read(settings.state_dir / HISTORY) if one.key == key]
    if not ends:
        return None
    end = ends[-1]
    return Standing(
        key,
        "released" if end.settled == "released" else "ended",
        end.attempt,
        "this machine",
        end.cause,
        end.exit_code,
        end.detail,
        buried=end.settled == "buried",
        updated=end.ended,
    )


async def _find(settings: Settings) -> dict[str, Any]:
    try:
        return await ask_once(settings, "status")
    except NoDaemon:
        return state_on_disk(settings)


def _show_daemon(daemon: dict[str, Any] | None, settings: Settings) -> None:
    if daemon is None:
        print(f"No daemon listens on {control_socket(settings)}.")
        return
    suspended = " and by ".join(map(show.line, daemon.get("suspended_by", ())))
    state = f"suspended by {suspended}" if suspended else "taking experiments"
    state = "draining" if daemon.get("draining") else state
    print(f"Daemon {daemon.get('pid')}, up {show.since(daemon.get('started'))}, {state}.")
    free, total = daemon.get("free") or {}, daemon.get("capacity") or {}
    print(
        f"Free: {free.get('cores', 0)} of {total.get('cores', 0)} cores, "
        f"{show.size(free.get('memory', 0))} of {show.size(total.get('memory', 0))} memory, "
        f"{show.size(free.get('disk', 0))} of {show.size(total.get('disk', 0))} disk, "
        f"{len(free.get('gpus', ()))} of {len(total.get('gpus', ()))} GPUs."
    )
    if users := daemon.get("users"):
        print(
            f"Every experiment runs as a user of its own: {users.get('free', 0)} of "
            f"{users.get('all', 0)} users are free."
        )
    if why := daemon.get("fuse"):
        print(f"The host fuse has blown: {show.line(why)}.")
    if why := daemon.get("not_reloaded"):
        print(f"Not reloaded, the options of before count: {show.line(why)}.")
    _show_missing_gpus(daemon)
    rows = [(q.get("name"), q.get("broker"), q.get("waiting")) for q in daemon.get("queues", ())]
    if rows:
        show.table("Queues", ("queue", "broker", "waiting"), rows)
    else:
        print("No queue is taken from.")
    troubled = [one for one in daemon.get("sources", ()) if one.get("trouble")]
    if troubled:
        rows = [(one.get("origin"), one.get("broker"), one.get("trouble")) for one in troubled]
        show.table("In trouble", ("source", "broker", "why"), rows)


def _show_missing_gpus(daemon: dict[str, Any]) -> None:
    if why := daemon.get("why_no_gpus"):
        print(f"No GPU is given out: {show.line(why)}")
    withheld = [one for one in daemon.get("gpus", ()) if one.get("withheld")]
    if withheld:
        rows = [(one.get("name"), one.get("uuid"), one.get("withheld")) for one in withheld]
        show.table("GPUs that are not given out", ("card", "uuid", "why"), rows)


def _show_running(running: Sequence[dict[str, Any]], *, has_daemon: bool) -> None:
    if not running:
        print("Nothing runs.")
        return
    rows = [
        (
            one.get("key"),
            one.get("queue"),
            one.get("attempt"),
            one.get("phase"),
            show.since(one.get("since")),
            one.get("cores"),
            show.size(one.get("memory") or 0),
            len(one.get("gpus") or ()),
        )
        for one in running
    ]
    title = "Running" if has_daemon else "Left by the last daemon"
    columns = ("key", "queue", "attempt", "phase", "for", "cores", "memory", "GPUs")
    show.table(title, columns, rows)
    images = [(one.get("key"), one.get("image")) for one in running if one.get("image")]
    if images:
        show.table("In container images", ("key", "image"), images)


def _show_kept(kept: Sequence[dict[str, Any]]) -> None:
    if not kept:
        return
    rows = [
        (
            one.get("key"),
            one.get("attempt"),
            one.get("cause"),
            show.since(one.get("ended")),
            show.duration(max(0.0, (one.get("until") or 0) - time.time())),
            show.size(one.get("bytes") or 0),
            one.get("path"),
        )
        for one in kept
    ]
    columns = ("key", "attempt", "cause", "ago", "for", "size", "where")
    show.table("Kept to be looked at", columns, rows)


def _show_recent(recent: Sequence[dict[str, Any]]) -> None:
    if not recent:
        return
    rows = [
        (
            one.get("key"),
            one.get("attempt"),
            one.get("cause"),
            one.get("exit_code"),
            show.duration(one.get("seconds") or 0),
            show.since(one.get("ended")),
            one.get("detail"),
            "" if one.get("cause") == "completed" else one.get("advice"),
        )
        for one in recent
    ]
    columns = ("key", "attempt", "cause", "exit", "took", "ago", "why", "what to do")
    show.table("Ended", columns, rows)
