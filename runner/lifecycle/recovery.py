"""What the daemon before us left: runs to adopt, messages to give back, directories to sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner import log
from runner.errors import HostFault
from runner.lifecycle.board import Entry
from runner.lifecycle.deaths import with_blame
from runner.lifecycle.parts import Parts
from runner.lifecycle.resumption import Resumption
from runner.lifecycle.runs import remains
from runner.lifecycle.runs.record import Record
from runner.lifecycle.runs.workspace import leftovers, sweep
from runner.lifecycle.sources.late import Late
from runner.lifecycle.sources.supply import Supply
from runner.lifecycle.tally import Stage

_log = log.get_logger(__name__)


async def recover(parts: Parts, supply: Supply) -> Sequence[Resumption]:
    """Take over what is on disk; return what is to be resumed, with its share of the machine.

    No broker is waited for: messages are held again in the background. What no record knows of is
    swept away there too.
    """
    await remains.recover(parts)
    before = list(parts.records.read_all())
    is_all_known = await parts.records.clear()
    records = with_blame(before)
    for record in records:
        if record not in before:  # written down first: reading its message may be what kills
            _note(parts, record)
    found = [_handling(parts, supply, record) for record in records]
    kept = {handling.entry.record.workspace for handling in found}
    # Listed now: what the daemon makes from here on is none of it.
    left = leftovers(parts.working_dir, {path for path in kept if path is not None})
    if left and is_all_known:  # else the run of a record that was left alone may be in one
        parts.background(lambda: _sweep(left))
    return found


def _note(parts: Parts, record: Record) -> None:
    try:
        parts.records.write(record)
    except HostFault as error:
        _log.warning("death not written down", key=record.key, trouble=str(error))


def _handling(parts: Parts, supply: Supply, record: Record) -> Resumption:
    delivery = Late(record, supply, parts.options.claim_lease)
    parts.background(delivery.seek)
    entry = Entry(record, stage=Stage.RESUME, is_adopted=True)
    parts.users.adopt(record.identity)
    # Also of what was only being made ready: it may have begun to run on its cards.
    queue = record.message.queue
    parts.intake.adopt(record.allocation, broker=record.broker, project=record.project, queue=queue)
    if record.stop is not None:
        entry.stopper.stop(record.stop, "asked for before the daemon was restarted")
    _log.info("adopted", key=record.key, run=record.run, phase=record.phase.value)
    return Resumption(
        parts, delivery, entry, message_is_lost=delivery.is_lost, replaced=delivery.give_up
    )


async def _sweep(paths: Sequence[Path]) -> None:
    try:
        removed = await sweep(paths)
    except HostFault as error:
        _log.warning("not everything could be swept", trouble=str(error))
    else:
        _log.info("swept", directories=len(removed))
