"""``studio-runner watch``: read what runners report about the experiments of a queue."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from runner.cli import queues, show
from runner.cli.arguments import ClientCommand
from runner.cli.queues import Access, label
from runner.cli.reports import Reports
from runner.errors import Misconfigured, QueueGone, RunnerError
from runner.queues.addresses import LocalAddress, QueueAddress
from runner.queues.choice import Choice
from runner.queues.mailbox import queue_of, reading_name
from runner.settings.parser import Parser

_ABOUT = """Read what runners report about the experiments of QUEUE while they go on: how far each
is, every line it prints, how it ended. The reports lie in the response queue, QUEUE_response;
runners send them only where it exists, and where their operator has put a key for it or allows
clear text.

A report that was shown is taken out of the response queue. Reports that --private-key does not
open, and with KEY those about other experiments, are given back."""
_USAGE = "QUEUE [KEY] [OPTION…]"


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Show reports until interrupted, or until the experiment has ended."""
    command = ClientCommand("watch", _ABOUT, _USAGE, settings=queues.SETTINGS, arguments=_arguments)
    settings, chosen = command.parse(argv, environ)
    address = queues.address_in(chosen.name, "QUEUE")
    if chosen.limit < 1:
        raise Misconfigured(f"--limit is {chosen.limit}: give a whole number of at least 1")
    key = _private_key(chosen)
    access = Access(settings, environ, chosen.credential or "")
    return anyio.run(_watch, access, chosen, address, key)


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="QUEUE", help=queues.HELP)
    parser.add_argument("key", metavar="KEY", nargs="?", help="of one experiment: end as it does")
    parser.add_argument("--private-key", metavar="FILE", help="the RSA key that opens the reports")
    parser.add_argument("--passphrase-file", metavar="FILE", help="what opens that key")
    parser.add_argument("--make", action="store_true", help="make the response queue if need be")
    parser.add_argument(
        "--once", action="store_true", help="end as soon as nothing comes for some seconds"
    )
    parser.add_argument("--peek", action="store_true", help="show what waits, and leave it there")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="reports of --peek (default: 1000)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document a line")
    queues.add_credential(parser)


def _private_key(chosen: Namespace) -> Any:
    if not chosen.private_key:
        return None
    from runner.privacy.response_keys import private_key  # noqa: PLC0415 - it takes 40 ms

    passphrase = None
    if chosen.passphrase_file:
        try:
            passphrase = Path(chosen.passphrase_file).expanduser().read_bytes().rstrip(b"\r\n")
        except OSError as error:
            named = chosen.passphrase_file
            raise Misconfigured(f"--passphrase-file {named}: {error.strerror}") from error
    return private_key(Path(chosen.private_key).expanduser(), passphrase)


async def _watch(access: Access, chosen: Namespace, address: QueueAddress, key: Any) -> int:
    source = queue_of(address.name)
    if chosen.make:
        await _make(access, address, source)
    reading = replace(address, name=reading_name(address.broker, source))
    missing = (
        f"there is no response queue {label(reading)}: runners send reports once it is there; make "
        "it with --make"
    )
    root = access.settings.queue_root
    if isinstance(address, LocalAddress) and root and not (root / reading.name).is_dir():
        raise RunnerError(missing)
    try:
        async with access.queue(reading) as queue:
            reports = Reports(queue, key, only=chosen.key or "", as_json=chosen.json)
            if chosen.peek:
                return await reports.peek(chosen.limit)
            show.note(f"reports from {label(reading)}")
            return await reports.take(once=chosen.once)
    except QueueGone as error:
        raise RunnerError(missing) from error


async def _make(access: Access, address: QueueAddress, source: str) -> None:
    choice = Choice(named=frozenset({source}))
    async with access.broker(access.opening(address), choice) as broker:
        mailbox = broker.mailbox(source)
        if mailbox is None:
            raise Misconfigured(f"{label(address)} can have no response queue")
        await mailbox.make()
