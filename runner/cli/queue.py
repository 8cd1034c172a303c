"""``studio-runner queue``: look into queues and their dead letters, and empty them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import anyio

from runner.cli import show
from runner.cli.arguments import ClientCommand, add_json
from runner.cli.queue_rows import COLUMNS, Row, all_queues, one_queue, summary
from runner.cli.queues import SETTINGS, Access, AnyQueue, add_credential, address_in, label
from runner.errors import Misconfigured, RunnerError
from runner.queues.addresses import FORMS, QueueAddress
from runner.redaction import Redactor
from runner.settings.parser import Parser

_ABOUT = f"""Look into queues, and empty them; no daemon is asked.

  list                  every queue of every credential: how much waits, how much
                        is dead, and whether a daemon with these options takes it
  peek [QUEUE]          the waiting messages, oldest first; none is taken, and
                        what a look costs at that broker is said first
  dead [QUEUE]          the dead letters, and why they were buried
  requeue QUEUE ID…     make dead letters waiting messages again; --all for every one
  purge QUEUE           remove every waiting message; asks for the queue's name

QUEUE is the name of a local queue, or one of
  {FORMS.replace(", ", chr(10) + "  ").replace("or ", "")}
Without QUEUE, peek and dead look into local queues alone. A queue is opened with the
daemon's credentials (--certs-dir and the like), else with the environment's own."""
_ACTIONS = ("list", "peek", "dead", "requeue", "purge")

Look = Callable[[Namespace, str, AnyQueue], Awaitable[Sequence[Row]]]


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one of the actions."""
    command = ClientCommand(
        "queue", _ABOUT, "ACTION [QUEUE] [ID…]", settings=("queue", *SETTINGS), arguments=_arguments
    )
    settings, chosen = command.parse(argv, environ)
    address = address_in(chosen.name, "QUEUE") if chosen.name else None
    _check(chosen, address)
    access = Access(settings, environ, chosen.credential or "")
    return anyio.run(_ACTS[chosen.action], access, chosen, address)


def _arguments(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=_ACTIONS, help=", ".join(_ACTIONS))
    parser.add_argument("name", metavar="QUEUE", nargs="?", help="its name or address, see above")
    parser.add_argument("ids", metavar="ID", nargs="*", default=[], help="of dead letters")
    parser.add_argument("--all", action="store_true", help="requeue every dead letter")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="messages of a queue (default: 20)"
    )
    parser.add_argument("--yes", metavar="NAME", help="the name of the queue that is purged")
    add_credential(parser)
    add_json(parser)


def _check(chosen: Namespace, address: QueueAddress | None) -> None:
    """Refuse what cannot be meant; ask for the name of a queue that is to be emptied."""
    if chosen.limit < 1:
        raise Misconfigured(f"--limit is {chosen.limit}: give a whole number of at least 1")
    if chosen.action == "requeue" and (not address or bool(chosen.ids) == chosen.all):
        raise Misconfigured("say which: studio-runner queue requeue QUEUE ID…, or QUEUE --all")
    if chosen.ids and chosen.action != "requeue":
        raise Misconfigured(f"unexpected argument {chosen.ids[0]!r}: {chosen.action} takes no ID")
    if chosen.action == "purge":
        if address is None:
            raise Misconfigured("say which: studio-runner queue purge QUEUE")
        _confirm(chosen, address)


def _confirm(chosen: Namespace, address: QueueAddress) -> None:
    if chosen.yes is not None:
        if chosen.yes != address.name:
            raise Misconfigured(
                f"--yes is {chosen.yes!r}, and the queue is called {address.name!r}: nothing was "
                "removed"
            )
    elif not sys.stdin.isatty():
        raise Misconfigured(
            f"purge removes every message that waits in {label(address)}: confirm with --yes "
            f"{address.name}"
        )
    else:
        show.note(f"Every message that waits in {label(address)} will be removed, for good.")
        if input("The name of the queue: ").strip() != address.name:
            raise Misconfigured("that is not its name: nothing was removed")


async def _list(access: Access, chosen: Namespace, address: QueueAddress | None) -> int:
    if address is not None:
        found, troubles = [await one_queue(access, address)], list[str]()
    else:
        found, troubles = await all_queues(access)
        access.tell_troubles()
    _print(chosen, "Queues", COLUMNS, found)
    for trouble in troubles:
        show.note(f"studio-runner: {trouble}")
    return 1 if troubles else 0


async def _peek(access: Access, chosen: Namespace, address: QueueAddress | None) -> int:
    columns = ("queue", "id", "key", "script", "cores", "added")
    _print(chosen, "Waiting", columns, await _look(access, chosen, address, _waiting))
    return 0


async def _dead(access: Access, chosen: Namespace, address: QueueAddress | None) -> int:
    columns = ("queue", "id", "key", "ago", "reason")
    _print(chosen, "Dead letters", columns, await _look(access, chosen, address, _letters))
    return 0


async def _look(
    access: Access, chosen: Namespace, address: QueueAddress | None, look: Look
) -> Sequence[Row]:
    """Look into the queue that is named, else into every local one."""
    if address is not None:
        async with access.queue(address) as queue:
            return await look(chosen, label(address), queue)
    rows: list[Row] = []
    async with access.listed(None) as found:
        for name in found.names:
            queue = cast("AnyQueue", await found.broker.open(name))
            rows.extend(await look(chosen, name, queue))
    return rows


async def _waiting(chosen: Namespace, name: str, queue: AnyQueue) -> Sequence[Row]:
    if queue.peek_costs:
        show.note(f"{name}: {queue.peek_costs}")
    found = await queue.peek(chosen.limit)
    return [(name, message.id, *summary(message)) for message in found]


async def _letters(chosen: Namespace, name: str, queue: AnyQueue) -> Sequence[Row]:
    redactor = Redactor()
    return [
        (
            name,
            letter.message.id,
            summary(letter.message)[0],
            show.since(letter.buried_at),
            # What it printed last lies below the reason: not for a line of a table.
            redactor.redact(letter.reason if chosen.json else letter.reason.partition("\n")[0]),
        )
        for letter in (await queue.dead())[-chosen.limit :]
    ]


async def _requeue(access: Access, chosen: Namespace, address: QueueAddress) -> int:
    async with access.queue(address) as queue:
        ids = [letter.message.id for letter in await queue.dead()] if chosen.all else chosen.ids
        done = [message_id for message_id in ids if await queue.requeue(message_id)]
    missing = [message_id for message_id in ids if message_id not in done]
    if chosen.json:
        show.as_json({"requeued": done, "missing": missing})
    else:
        print(f"{len(done)} requeued in {label(address)}")
    if missing:
        raise RunnerError(f"there is no dead letter {missing[0]!r} in {label(address)}")
    return 0


async def _purge(access: Access, chosen: Namespace, address: QueueAddress) -> int:
    async with access.queue(address) as queue:
        removed = await queue.purge()
    if chosen.json:
        show.as_json({"queue": label(address), "removed": removed})
    elif removed is None:
        print(f"{label(address)} was emptied; its broker does not tell of how many messages")
    else:
        print(f"{removed} removed from {label(address)}")
    return 0


def _print(chosen: Namespace, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if chosen.json:
        show.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        show.table(title, columns, rows)
    else:
        show.note(f"{title}: none")


_ACTS: Mapping[str, Callable[[Access, Namespace, Any], Awaitable[int]]] = {
    "list": _list,
    "peek": _peek,
    "dead": _dead,
    "requeue": _requeue,
    "purge": _purge,
}
