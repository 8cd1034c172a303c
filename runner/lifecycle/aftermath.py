"""What follows when an attempt is settled: its workspace is kept, and the operator's hook told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runner import log
from runner.errors import RunnerError
from runner.lifecycle.board import Entry
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.kept import Remnant
from runner.model import Deferred, Disposition, Failed, Outcome, Request

_log = log.get_logger(__name__)


@dataclass(frozen=True)
class Aftermath:
    """Of one attempt. Nothing here holds a message, a claim or a card any more."""

    parts: Parts
    entry: Entry
    outcome: Outcome
    disposition: Disposition

    @cached_property
    def kept(self) -> Path | None:
        """Where its workspace is to be kept; ``None``: it goes."""
        record, keeper = self.entry.record, self.parts.kept
        is_wanted = isinstance(self.outcome, Failed) and not self.entry.stopper.is_hastened
        if keeper is None or record.workspace is None or not is_wanted:
            return None
        return keeper.place_for(record.run)

    async def see_to(self, request: Request | None) -> None:
        """Keep the workspace, then tell the hook.

        Without a ``request`` the experiment never was ours, and the hook hears nothing; nor does it
        of what was put off.
        """
        kept = self.kept if await self._keep() else None
        if request is None or isinstance(self.outcome, Deferred):
            return
        await self.parts.hooks.tell(
            self.parts,
            self.entry,
            request,
            self.outcome,
            self.disposition,
            kept=str(kept or ""),
        )

    async def _keep(self) -> bool:
        record, keeper = self.entry.record, self.parts.kept
        if self.kept is None or keeper is None or record.workspace is None:
            return False
        remnant = Remnant(
            key=record.key,
            project=record.experiment_project,
            queue=record.message.queue,
            attempt=record.attempt,
            cause=self.outcome.cause.value,
            detail=self.parts.redactor.redact(self.outcome.detail),
            ended=time.time(),
            path=str(self.kept),
        )
        try:
            await keeper.keep(record.workspace, remnant)
        except RunnerError as error:
            _log.warning("workspace not kept", key=record.key, trouble=str(error))
            return False
        until = keeper.span.total_seconds()
        _log.info("workspace kept", key=record.key, path=remnant.path, seconds=until)
        return True
