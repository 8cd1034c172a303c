"""What goes on beside a run until its end: checkpoints, its status, and listening for a stop."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass

import anyio

from runner import log
from runner.alongside import alongside
from runner.errors import HostFault
from runner.lifecycle.announcing import about
from runner.lifecycle.artifacts.checkpoints import Checkpoints, append_note
from runner.lifecycle.board import Entry
from runner.lifecycle.chore import Chore
from runner.lifecycle.logbook import Logbook
from runner.lifecycle.ownership.client_status import ClientStatus
from runner.lifecycle.parts import Parts
from runner.lifecycle.responses import telling
from runner.lifecycle.responses.following import Following
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.run import Run
from runner.lifecycle.runs.workspace import Workspace
from runner.lifecycle.tally import Stage
from runner.model import Cause, News

_log = log.get_logger(__name__)

#: Before a stop that could not be written down is tried again.
_STOP_AGAIN = 1.0


@dataclass(frozen=True)
class Beside:
    """Looks after one run. Nothing that it does can cost the run, whatever fails."""

    parts: Parts
    entry: Entry
    workspace: Workspace
    checkpoints: Checkpoints
    status: ClientStatus
    logbook: Logbook

    def listening(self) -> AbstractAsyncContextManager[None]:
        """Hear what the client says while the block makes the run ready.

        The block's errors come out bare.
        """

        async def listen(_: anyio.CancelScope) -> None:
            await self._unharmed(self._stop_when_the_client_says)

        return alongside(listen)

    async def until_exit(self, run: Run) -> Exit:
        """Wait for the end of the run, also for one that was asked for meanwhile."""
        exits: list[Exit] = []
        errors: list[Exception] = []
        with closing(Following(self.parts, self.entry)) as following:
            await self._watched(run, following, exits, errors)
            await self._unharmed(following.finish)
        if errors:
            raise errors[0]
        self.entry.ended_at = exits[0].ended_at or time.time()
        await self._unharmed(lambda: self.logbook.close(exits[0]))
        return exits[0]

    async def _watched(
        self, run: Run, following: Following, exits: list[Exit], errors: list[Exception]
    ) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._unharmed, self._show_as_running)
            async with anyio.create_task_group() as watchers:
                watchers.start_soon(self._unharmed, following.follow)
                watchers.start_soon(self._unharmed, lambda: self._stop_when_asked(run))
                watchers.start_soon(self._unharmed, self._stop_when_the_client_says)
                watchers.start_soon(self._unharmed, self._keep_checkpoints)
                watchers.start_soon(self._unharmed, lambda: self.logbook.keep(run.supervisor))
                try:
                    exits.append(await run.wait())
                except Exception as error:  # noqa: BLE001 - carried past the groups, design 5.1
                    errors.append(error)
                watchers.cancel_scope.cancel()

    async def _unharmed(self, work: Callable[[], Awaitable[None]]) -> None:
        await Chore("something beside a run", work, self.entry.record.key).once()

    async def _show_as_running(self) -> None:
        """The run does not wait for its own status to be shown."""
        record = self.entry.record
        text, facts = f"{record.key} is running", {}
        if self.entry.is_adopted:
            text, facts = f"{record.key} goes on under another daemon", {"adopted": "true"}
            telling.adopted(self.parts, self.entry)
        else:
            telling.started(self.parts, self.entry)
        await self.parts.report(about(self.entry, News.STARTED, text, facts=facts))
        warning = await self.status.started(record.started_at)
        if warning:
            said = self.parts.redactor.redact(f"studio-runner: {warning}\n")
            append_note(self.workspace.log, said)
        if self.status.was_stopped:  # while it waited in its queue
            self._stop_for_the_client()

    async def _stop_when_asked(self, run: Run) -> None:
        cause = await self.entry.stopper.wait()
        telling.stopping(self.parts, self.entry, cause)
        self.entry.begin(Stage.STOP)
        self.entry.note(self.parts.records, stop=cause)
        await self._stop(run, cause)
        await self.entry.stopper.hastened()
        await self._stop(run, cause)

    async def _stop(self, run: Run, cause: Cause) -> None:
        while True:
            try:
                await run.stop(cause, self.entry.stopper.grace)
            except HostFault as error:
                _log.warning("not stopped yet", key=self.entry.record.key, trouble=str(error))
                await anyio.sleep(_STOP_AGAIN)
            else:
                return

    async def _stop_when_the_client_says(self) -> None:
        while True:
            await anyio.sleep(self.status.poll_seconds)
            if await self.status.is_stopped():
                self._stop_for_the_client()
                return

    def _stop_for_the_client(self) -> None:
        self.entry.stopper.stop(Cause.CANCELLED, "its status was set to stopped")

    async def _keep_checkpoints(self) -> None:
        # The run may take its grace to end; what is another runner's must not be touched then.
        async with self.entry.stopper.cancels(storing=True):
            await self.checkpoints.keep()
