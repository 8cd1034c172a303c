"""One attempt: make ready, run, bring home; returns an Outcome and settles nothing.

Being *cancelled* means that the daemon leaves: the run goes on, its record stays, and the next
daemon adopts it. Being *stopped* (``Stopper``) means that the experiment has to end.
"""

from __future__ import annotations

import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.environments.base import Environment, EnvironmentSpec
from runner.errors import BadField, RunnerError, StoreUnavailable
from runner.lifecycle import causes, limits, variables
from runner.lifecycle.artifacts import Artifacts
from runner.lifecycle.board import Entry
from runner.lifecycle.causes import Evidence
from runner.lifecycle.checkpoints import Checkpoints, append_note, banner
from runner.lifecycle.claim import Claim
from runner.lifecycle.client_status import ClientStatus
from runner.lifecycle.exits import Exit
from runner.lifecycle.parts import Parts
from runner.lifecycle.record import Phase
from runner.lifecycle.run import Run, RunSpec
from runner.lifecycle.workspace import Workspace
from runner.model import (
    Cause,
    Completed,
    Failed,
    News,
    Outcome,
    Report,
    Request,
    Stopped,
)
from runner.request.requirements import requirement_warnings, requirements
from runner.sandboxes.base import Command

_log = log.get_logger(__name__)

#: Stops that end an attempt without its being the experiment's fault.
_NOT_A_FAILURE = frozenset({Cause.DRAINED, Cause.CANCELLED, Cause.LEASE_LOST, Cause.ORPHANED})


#: Of a workspace that lacks the script.
_SHOWN_NAMES = 20


class Expired(RunnerError):
    """A limit had passed before the run could start."""

    def __init__(self, cause: Cause) -> None:
        """Name the limit."""
        super().__init__(f"its {cause.value} had passed before it could start")
        self.cause = cause


@dataclass(frozen=True)
class Attempt:
    """What belongs to one attempt; made for a fresh message and for an adopted run alike."""

    parts: Parts
    request: Request
    entry: Entry
    claim: Claim
    workspace: Workspace
    artifacts: Artifacts
    checkpoints: Checkpoints
    status: ClientStatus

    async def perform(self) -> Outcome:
        """Make ready, run and bring home."""
        async with AsyncExitStack() as stack:
            try:
                async with self.entry.stopper.cancels():
                    spec = await self._prepare(stack)
                if self.entry.stopper.cause is not None:
                    return await self._bring_home(self._stopped())
                run = await Run.start(spec)
            except RunnerError as error:
                return await self._bring_home(_failed(error))
            self._record(Phase.RUNNING, started_at=time.time())
            return await self._see_through(run)

    async def resume(self) -> Outcome:
        """Go on with a run that an earlier daemon started."""
        record = self.entry.record
        async with AsyncExitStack() as stack:
            try:
                if record.environment is not None:
                    await stack.enter_async_context(self.parts.environments.pin(record.environment))
                run = await Run.adopt(self.parts.records.place(record.run))
            except RunnerError as error:
                return await self._bring_home(_failed(error))
            return await self._see_through(run)

    # ------------------------------------------------------------------ before the run

    async def _prepare(self, stack: AsyncExitStack) -> RunSpec:
        expired = [cause for cause, left in self._limits().items() if left <= timedelta(0)]
        if expired:
            raise Expired(expired[0])
        self.entry.stage = "fetching"
        warnings = await self.artifacts.fetch(self.request.needs.disk)
        self._announce((*self.request.warnings, *requirement_warnings(self.request), *warnings))
        self._check_script()
        self.entry.stage = "building"
        environment = await stack.enter_async_context(
            self.parts.environments.lease(self._wanted_environment())
        )
        self._record(Phase.PREPARING, environment=environment.key)
        command = await self._command(environment)
        self.parts.background(lambda: self.parts.environments.compile_later(environment))
        self.entry.stage = "starting"
        return self._spec(command)

    def _announce(self, warnings: tuple[str, ...]) -> None:
        record, text = self.entry.record, ""
        if record.attempt > 1:
            text = banner(record.attempt, self.parts.host, self.claim.previous_cause)
        text += "".join(f"studio-runner: {warning}\n" for warning in warnings)
        append_note(self.workspace.log, text)
        self.workspace.hand_over(self.workspace.log.parent)

    def _check_script(self) -> None:
        filename = self.request.experiment.filename
        if filename == "-m" or (self.workspace.code / filename).exists():
            return
        there = sorted(path.name for path in self.workspace.code.iterdir())[:_SHOWN_NAMES]
        raise BadField(
            "experiment.filename",
            filename,
            f"the workspace holds no such file; there are: {', '.join(there) or 'none at all'}",
        )

    def _wanted_environment(self) -> EnvironmentSpec:
        request, record = self.request, self.entry.record
        return EnvironmentSpec(
            python_version=request.experiment.python_version,
            requirements=requirements(
                request,
                gpus=bool(record.allocation.gpus),
                distributions=[
                    str(path) for path in self.workspace.code.glob("dist/studioml-*.tar.gz")
                ],
            ),
            scope=record.project,
        )

    async def _command(self, environment: Environment) -> Command:
        place = self.workspace.environment
        attachment = await self.parts.environments.attach(environment, place)
        self.workspace.hand_over(place)
        experiment = self.request.experiment
        env = variables.variables(
            self.request,
            self.entry.record.allocation,
            base=self.parts.options.base_variables,
            home=self.workspace.home,
            scratch=self.workspace.scratch,
            name=self.workspace.name,
            attachment=attachment,
        )
        return Command(
            argv=(str(attachment.python), experiment.filename, *experiment.args),
            cwd=self.workspace.code,
            env=env,
            writable=(self.workspace.root,),
            readonly=attachment.readonly,
            identity=self.parts.identity,
        )

    def _spec(self, command: Command) -> RunSpec:
        options = self.parts.options
        return RunSpec(
            run_id=self.entry.record.run,
            directory=self.parts.records.place(self.entry.record.run),
            launch=self.parts.sandbox.launch(command),
            output=self.workspace.log,
            output_limit=options.output_limit,
            limits=self._limits(),
            grace=options.kill_grace,
            orphan_timeout=options.orphan_timeout,
        )

    # ------------------------------------------------------------------ the run

    async def _see_through(self, run: Run) -> Outcome:
        self.entry.stage = "running"
        try:
            await self._say(News.STARTED, "is running")
            self._warn(await self.status.started())
            exit_ = await self._until_exit(run)
            self._record(Phase.FINISHING)
            return await self._bring_home(self._judge(exit_))
        finally:
            # Whether the run is over or the daemon leaves: the next one can adopt it.
            run.leave()

    async def _until_exit(self, run: Run) -> Exit:
        exits: list[Exit] = []
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_when_asked, run)
            group.start_soon(self._stop_when_the_client_says)
            group.start_soon(self.checkpoints.keep)
            exits.append(await run.wait())
            group.cancel_scope.cancel()
        return exits[0]

    async def _stop_when_asked(self, run: Run) -> None:
        cause = await self.entry.stopper.wait()
        self._record(self.entry.record.phase, stop=cause)
        self.entry.stage = "stopping"
        await run.stop(cause)

    async def _stop_when_the_client_says(self) -> None:
        while True:
            await anyio.sleep(self.status.poll_seconds)
            if await self.status.is_stopped():
                self.entry.stopper.stop(Cause.CANCELLED, "its status was set to stopped")
                return

    def _judge(self, exit_: Exit) -> Outcome:
        cause = causes.cause_of(causes.evidence_of(exit_))
        if cause is Cause.COMPLETED:
            return Completed()
        if cause in _NOT_A_FAILURE:
            return Stopped(cause, exit_.code, self.entry.stopper.detail)
        return Failed(cause, exit_.code, _told(exit_))

    # ------------------------------------------------------------------ after the run

    async def _bring_home(self, outcome: Outcome) -> Outcome:
        """Store what there is; a result that cannot be stored is no result."""
        if outcome.cause is Cause.LEASE_LOST:
            return outcome
        self.entry.stage = "uploading"
        if outcome.cause is not Cause.COMPLETED:
            append_note(self.workspace.log, self._explanation(outcome))
        try:
            await self._store_results()
        except RunnerError as error:
            _log.error("results not stored", key=self.entry.record.key, trouble=str(error))
            cause = causes.cause_of(Evidence(error=error))
            return Failed(cause, outcome.exit_code, f"the results could not be stored: {error}")
        return outcome

    async def _store_results(self) -> None:
        give_up = anyio.current_time() + self.parts.options.upload_patience.total_seconds()
        pause = 1.0
        while True:
            try:
                await self.checkpoints.last()
            except StoreUnavailable as error:
                if anyio.current_time() + pause > give_up:
                    raise
                _log.warning("upload tried again", pause=pause, trouble=str(error))
                await anyio.sleep(pause)
                pause = min(2 * pause, 60.0)
            else:
                return

    def _explanation(self, outcome: Outcome) -> str:
        said = f"studio-runner: {outcome.cause.value}"
        if outcome.detail:
            said += f": {outcome.detail}"
        return f"{said}\nstudio-runner: {causes.advice(outcome.cause)}\n"

    def _stopped(self) -> Outcome:
        stopper = self.entry.stopper
        assert stopper.cause is not None  # noqa: S101 - asked before
        return Stopped(stopper.cause, None, stopper.detail)

    def _limits(self) -> dict[Cause, timedelta]:
        return dict(
            limits.limits(
                self.request,
                cap=self.parts.options.duration_cap,
                now=time.time(),
                claimed_at=self.entry.record.claimed_at,
            )
        )

    def _record(self, phase: Phase, **changes: object) -> None:
        self.entry.record = self.entry.record.but(phase=phase, **changes)
        self.parts.records.write(self.entry.record)

    async def _say(self, news: News, text: str) -> None:
        record = self.entry.record
        await self.parts.report(
            Report(
                news,
                f"{record.key} {text}",
                queue=record.message.queue,
                key=record.key,
                project=record.experiment_project,
                attempt=record.attempt,
            )
        )

    def _warn(self, sentence: str) -> None:
        if sentence:
            append_note(self.workspace.log, f"studio-runner: {sentence}\n")


def _failed(error: RunnerError) -> Outcome:
    if isinstance(error, Expired):
        return Failed(error.cause, None, str(error))
    return Failed(causes.cause_of(Evidence(error=error)), None, str(error))


def _told(exit_: Exit) -> str:
    if exit_.detail:
        return exit_.detail
    if exit_.signal is not None:
        return f"it died of {_signal_name(exit_.signal)}"
    return f"it exited with {exit_.code}" if exit_.code else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
