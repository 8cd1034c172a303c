"""What the daemon before us left: runs to adopt, messages to give back, directories to sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from runner import log
from runner.errors import HostFault, LeaseLost, RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.handling import Handling
from runner.lifecycle.parts import Parts
from runner.lifecycle.record import Phase, Record
from runner.lifecycle.workspace import leftovers, sweep
from runner.model import Message
from runner.queues.base import Broker, Delivery

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
    """Take over what is on disk; return what is to be resumed, with its share of the machine.

    What no record knows of is swept away in the background.
    """
    by_project = {(broker.name, broker.project): broker for broker in brokers}
    found = [await _handling(parts, by_project, record) for record in parts.records.read_all()]
    kept = {handling.entry.record.workspace for handling in found}
    # Listed now: what the daemon makes from here on is none of it.
    left = leftovers(parts.working_dir, {path for path in kept if path is not None})
    if left:
        parts.background(lambda: _sweep(left))
    return found


async def _handling(
    parts: Parts, brokers: Mapping[tuple[str, str], Broker], record: Record
) -> Handling:
    message_is_lost = False
    try:
        delivery = await _hold_again(brokers, record)
    except RunnerError as error:
        _log.warning("message not held again", key=record.key, trouble=str(error))
        message_is_lost = isinstance(error, LeaseLost)
        delivery = Gone(record.message, record.token)
    entry = Entry(record, stage="resuming")
    if record.phase is not Phase.PREPARING:
        parts.intake.ledger.restore(record.allocation)
    if record.stop is not None:
        entry.stopper.stop(record.stop, "asked for before the daemon was restarted")
    _log.info("adopted", key=record.key, run=record.run, phase=record.phase.value)
    return Handling(parts, delivery, entry, message_is_lost=message_is_lost)


async def _hold_again(brokers: Mapping[tuple[str, str], Broker], record: Record) -> Delivery:
    """Raises LeaseLost, QueueUnavailable, Misconfigured."""
    broker = brokers.get((record.broker, record.project))
    if broker is None:
        _log.warning("its queue is not served any more", key=record.key, queue=record.message.queue)
        return Gone(record.message, record.token)
    queue = await broker.open(record.message.queue)
    return await queue.adopt(record.message, record.token)


async def _sweep(paths: Sequence[Path]) -> None:
    try:
        removed = await sweep(paths)
    except HostFault as error:
        _log.warning("not everything could be swept", trouble=str(error))
    else:
        _log.info("swept", directories=len(removed))
