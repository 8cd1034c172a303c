"""``studio-runner queue``: look into local queues and their dead letters."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from runner.cli import local_queues, show
from runner.cli.arguments import ClientCommand, add_json
from runner.errors import Misconfigured, RequestError, RunnerError
from runner.model import Message
from runner.queues.base import Broker
from runner.redaction import Redactor
from runner.request.schema import decode
from runner.settings import Settings
from runner.settings.parser import Parser

_ABOUT = """Look into local queues.

  list                  every queue, how much waits in it, how much is dead
  peek [QUEUE]          the waiting messages, oldest first; nothing is taken
  dead [QUEUE]          the dead letters, and why they were buried
  requeue QUEUE ID…     make dead letters waiting messages again; --all for every one"""
_ACTIONS = ("list", "peek", "dead", "requeue")
_LONGEST_REASON = 200

Action = Callable[[Settings, Namespace, Broker], Awaitable[int]]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one of the actions."""
    command = ClientCommand(
        "queue",
        _ABOUT,
        "ACTION [QUEUE] [ID…]",
        settings=local_queues.SETTINGS,
        arguments=_arguments,
    )
    settings, chosen = command.parse(argv, environ)
    return anyio.run(_act, settings, chosen)


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=_ACTIONS, help=", ".join(_ACTIONS))
    parser.add_argument("queue", metavar="QUEUE", nargs="?", help="default for a look: every one")
    parser.add_argument("ids", metavar="ID", nargs="*", help="of dead letters")
    parser.add_argument("--all", action="store_true", help="requeue every dead letter")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="messages of a queue (default: 20)"
    )
    add_json(parser)


async def _act(settings: Settings, chosen: Namespace) -> int:
    actions: Mapping[str, Action] = {
        "list": _list,
        "peek": _peek,
        "dead": _dead,
        "requeue": _requeue,
    }
    async with local_queues.opened(settings) as broker:
        return await actions[chosen.action](settings, chosen, broker)


async def _list(settings: Settings, chosen: Namespace, broker: Broker) -> int:
    rows = []
    for name in await _wanted(chosen, broker):
        queue = await local_queues.queue(broker, name)
        taken = "yes" if local_queues.is_taken(settings, name) else "no"
        rows.append((name, await queue.depth(), len(await queue.dead()), taken))
    _print(chosen, "Queues", ("queue", "waiting", "dead", "taken"), rows)
    return 0


async def _peek(_: Settings, chosen: Namespace, broker: Broker) -> int:
    rows: list[tuple[object, ...]] = []
    for name in await _wanted(chosen, broker):
        queue = await local_queues.queue(broker, name)
        waiting = await queue.peek(chosen.limit)
        rows.extend((name, message.id, *_summary(message)) for message in waiting)
    _print(chosen, "Waiting", ("queue", "id", "key", "script", "cores", "added"), rows)
    return 0


async def _dead(_: Settings, chosen: Namespace, broker: Broker) -> int:
    rows = []
    for name in await _wanted(chosen, broker):
        queue = await local_queues.queue(broker, name)
        for letter in (await queue.dead())[-chosen.limit :]:
            key = _summary(letter.message)[0]
            reason = Redactor().redact(letter.reason)
            rows.append((name, letter.message.id, key, show.since(letter.buried_at), reason))
    _print(chosen, "Dead letters", ("queue", "id", "key", "ago", "reason"), rows)
    return 0


async def _requeue(_: Settings, chosen: Namespace, broker: Broker) -> int:
    if not chosen.queue or bool(chosen.ids) == chosen.all:
        raise Misconfigured("say which: studio-runner queue requeue QUEUE ID…, or QUEUE --all")
    queue = await local_queues.queue(broker, chosen.queue)
    ids = [letter.message.id for letter in await queue.dead()] if chosen.all else chosen.ids
    done = [message_id for message_id in ids if await queue.requeue(message_id)]
    missing = [message_id for message_id in ids if message_id not in done]
    if chosen.json:
        show.as_json({"requeued": done, "missing": missing})
    else:
        print(f"{len(done)} requeued in {chosen.queue}")
    if missing:
        raise RunnerError(f"there is no dead letter {missing[0]!r} in {chosen.queue}")
    return 0


async def _wanted(chosen: Namespace, broker: Broker) -> Sequence[str]:
    return [chosen.queue] if chosen.queue else sorted(await local_queues.names(broker))


def _summary(message: Message) -> tuple[str, str, object, str]:
    """Return key, script, cores and age of what is asked for; what cannot be read says why."""
    try:
        request = decode(message)
    except RequestError as error:
        return _raw_key(message), f"cannot run: {str(error)[:_LONGEST_REASON]}", "", ""
    experiment = request.experiment
    added = show.since(experiment.time_added)
    script = " ".join((experiment.filename, *experiment.args))[:_LONGEST_REASON]
    return experiment.key, Redactor().redact(script), request.needs.cores, added


def _raw_key(message: Message) -> str:
    try:
        return str(json.loads(message.body)["experiment"]["key"])[:_LONGEST_REASON]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _print(
    chosen: Namespace, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    if chosen.json:
        show.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        show.table(title, columns, rows)
    else:
        show.note(f"{title}: none")
