"""What the daemon before us left: runs to adopt, messages to give back, directories to sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from runner import log
from runner.errors import HostFault, RunnerError
from runner.lifecycle import making
from runner.lifecycle.board import Entry
from runner.lifecycle.claim import Claim
from runner.lifecycle.handling import Handling
from runner.lifecycle.parts import Parts
from runner.lifecycle.record import Phase, Record
from runner.lifecycle.workspace import sweep
from runner.model import Cause, Message
from runner.queues.base import Broker, Delivery
from runner.request import decode

_log = log.get_logger(__name__)


class Gone(Delivery):
    """A message that could not be held again: the run goes on under its claim record alone."""

    def __init__(self, message: Message, token: str) -> None:
        super().__init__(message, token=token, lease=timedelta(hours=1))

    async def extend(self) -> None:
        """Nothing to keep."""

    async def ack(self) -> None:
        """Nothing to settle: another holder finds the claim record."""

    async def release(self, delay: timedelta) -> None:
        """Nothing to settle: another holder finds the claim record."""

    async def bury(self, reason: str) -> None:
        """Nothing to settle: another holder finds the claim record."""


async def recover(parts: Parts, brokers: Sequence[Broker]) -> Sequence[Handling]:
    """Take over what is on disk; return the runs that go on, with their share of the machine."""
    by_project = {(broker.name, broker.project): broker for broker in brokers}
    adopted = []
    for record in parts.records.read_all():
        delivery = await _hold_again(by_project, record)
        if record.phase is Phase.PREPARING:
            await _give_back(parts, record, delivery)
        else:
            adopted.append(_adopt(parts, record, delivery))
    kept = {handling.entry.record.workspace for handling in adopted}
    try:
        removed = await sweep(parts.working_dir, {path for path in kept if path is not None})
    except HostFault as error:
        _log.warning("not everything could be swept", trouble=str(error))
    else:
        if removed:
            _log.info("swept", directories=len(removed))
    return adopted


async def _hold_again(brokers: Mapping[tuple[str, str], Broker], record: Record) -> Delivery:
    broker = brokers.get((record.broker, record.project))
    if broker is None:
        _log.warning("its queue is not served any more", key=record.key, queue=record.message.queue)
        return Gone(record.message, record.token)
    try:
        queue = await broker.open(record.message.queue)
        return await queue.adopt(record.message, record.token)
    except RunnerError as error:
        _log.warning("message not held again", key=record.key, trouble=str(error))
        return Gone(record.message, record.token)


def _adopt(parts: Parts, record: Record, delivery: Delivery) -> Handling:
    parts.intake.ledger.restore(record.allocation)
    entry = Entry(record, stage="running")
    if record.stop is not None:
        entry.stopper.stop(record.stop, "asked for before the daemon was restarted")
    _log.info("adopted", key=record.key, run=record.run)
    return Handling(parts, delivery, entry)


async def _give_back(parts: Parts, record: Record, delivery: Delivery) -> None:
    """Nothing ran yet: the message may start anew, and nothing is counted."""
    try:
        request = decode(record.message)
        claims = await making.claims_for(parts, request, Entry(record))
        claim = await parts.keeper.run(claims.adopt)
        if isinstance(claim, Claim):
            await parts.keeper.run(lambda: claim.release(Cause.HOST_FAULT, counted=False))
    except RunnerError as error:
        _log.warning("claim not given back", key=record.key, trouble=str(error))
    try:
        await parts.keeper.run(lambda: delivery.release(timedelta(0)))
    except RunnerError as error:
        _log.warning("message not given back", key=record.key, trouble=str(error))
    parts.records.remove(record.run)
    _log.info("given back", key=record.key)
