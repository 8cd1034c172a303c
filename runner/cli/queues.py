"""Queues of every broker for the commands: how they are named, and opened for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner import log
from runner.cli import show
from runner.cli.telling import PERSON
from runner.client.access import SETTINGS, AnyQueue, Listed, label
from runner.client.access import Access as Silent
from runner.queues.addresses import AmqpAddress, QueueAddress, parse
from runner.redaction import Redactor
from runner.settings import Settings

__all__ = [
    "HELP",
    "SETTINGS",
    "Access",
    "AnyQueue",
    "Listed",
    "add_credential",
    "address_in",
    "label",
]

HELP = "its name, or local://NAME, sqs://…, pubsub://…, amqp://…: see studio-runner queue --help"


class Access(Silent):
    """The same, and what there is to say goes to stderr."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], wanted: str = "") -> None:
        super().__init__(settings, environ, wanted, PERSON)
        # What a backend has to say is no part of a command's result.
        log.configure(level="warning", form="text", redactor=Redactor(), environ=environ)


def address_in(text: str, option: str) -> QueueAddress:
    """Read the name of a queue; warn of a password in it. Raises Misconfigured."""
    address = parse(text, option=option)
    if isinstance(address, AmqpAddress) and address.login:
        show.note(
            f"note: the password in {option} can be read by every user of this machine: name the "
            "broker with --amqp-url-file, and the queue rabbitmq://NAME"
        )
    return address


def add_credential(group: Any) -> None:
    """Add the option that tells credentials apart."""
    group.add_argument(
        "--credential",
        metavar="NAME",
        help="which credential opens the queue, where several can: its file or directory below "
        "--certs-dir, or its account",
    )
