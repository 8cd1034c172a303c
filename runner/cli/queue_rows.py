"""What ``studio-runner queue`` shows: a row for each queue that there is, words for a message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import anyio

from runner.app import choosing
from runner.cli import show
from runner.cli.queues import Access, AnyQueue, Listed, label
from runner.errors import Misconfigured, RequestError, RunnerError
from runner.model import Message
from runner.queues.addresses import LocalAddress, QueueAddress, address_of
from runner.queues.credential import Credential
from runner.redaction import Redactor
from runner.request.envelope import is_envelope
from runner.request.schema import decode
from runner.request.secrets import secrets_of

Row = tuple[object, ...]
COLUMNS = ("queue", "broker", "credential", "waiting", "dead", "taken")
#: Queues of one account that are asked at a time.
_AT_A_TIME = 16
_LONGEST = 200


async def all_queues(access: Access) -> tuple[list[Row], list[str]]:
    """Return a row for each queue of each account, and what went wrong with some of them.

    Raises Misconfigured where there is no account at all.
    """
    accounts: list[Credential | None] = [*access.credentials()]
    if access.settings.queue_root is not None and not access.wanted:
        accounts.insert(0, None)
    if not accounts:
        raise Misconfigured(
            "there is no source of queues: name a directory of local queues with --queue-root, or "
            "one of credentials with --certs-dir"
        )
    found: list[Row] = []
    troubles: list[str] = []
    for credential in accounts:
        try:
            async with access.listed(credential) as listed:
                found += await _account(credential, listed, troubles)
        except RunnerError as error:
            troubles.append(f"{credential.origin}: {error}" if credential else str(error))
    return found, troubles


async def one_queue(access: Access, address: QueueAddress) -> Row:
    """Return the row of a queue that was named."""
    credential = access.opening(address)
    taken = choosing.choice(access.settings, address.broker).takes(address.name)
    async with access.queue(address) as queue:
        return (label(address), *(await _row(credential, queue, taken=taken))[1:])


def summary(message: Message) -> tuple[str, str, object, str]:
    """Return key, script, cores and age of what is asked for; what cannot be read says why."""
    if is_envelope(message.body):
        return "", "a sealed request", "", ""
    try:
        request = decode(message)
    except RequestError as error:
        why = Redactor().redact(str(error))[:_LONGEST]
        return _raw_key(message), f"cannot run: {why}", "", ""
    experiment = request.experiment
    added = show.since(experiment.time_added)
    redactor = Redactor()
    redactor.add(*secrets_of(request))
    # Masked first: half a secret is not recognised.
    script = redactor.redact(" ".join((experiment.filename, *experiment.args)))[:_LONGEST]
    return experiment.key, script, request.needs.cores, added


async def _account(
    credential: Credential | None, listed: Listed, troubles: list[str]
) -> Sequence[Row]:
    rows: dict[str, Row] = {}
    limiter = anyio.CapacityLimiter(_AT_A_TIME)

    async def look(name: str) -> None:
        async with limiter:
            taken = name in listed.taken
            queue = cast("AnyQueue", await listed.broker.open(name))
            try:
                rows[name] = await _row(credential, queue, taken=taken)
            except RunnerError as error:
                troubles.append(f"{name}: {error}")
                rows[name] = _written(credential, name, None, None, taken=taken)

    async with anyio.create_task_group() as group:
        for name in listed.names:
            group.start_soon(look, name)
    return [rows[name] for name in listed.names]


async def _row(credential: Credential | None, queue: AnyQueue, *, taken: bool) -> Row:
    # Elsewhere looking at dead letters may count as receiving them.
    dead = len(await queue.dead()) if credential is None else None
    return _written(credential, queue.name, await queue.depth(), dead, taken=taken)


def _written(
    credential: Credential | None, name: str, waiting: int | None, dead: int | None, *, taken: bool
) -> Row:
    """Write the row; what stands for the queue is what the commands accept for it."""
    is_taken = "yes" if taken else "no"
    if credential is None:
        return (name, LocalAddress.broker, None, waiting, dead, is_taken)
    address = str(address_of(credential, name))
    return (address, credential.broker, credential.origin, waiting, dead, is_taken)


def _raw_key(message: Message) -> str:
    try:
        return str(json.loads(message.body)["experiment"]["key"])[:_LONGEST]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
