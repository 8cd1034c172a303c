"""Makes an attempt ready to run: artifacts in place, environment attached, command known."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from runner.environments.base import Attachment, Environment, EnvironmentSpec
from runner.errors import BadField, RunnerError
from runner.lifecycle import limits, variables
from runner.lifecycle.artifact_forms import WORKSPACE
from runner.lifecycle.artifacts import Artifacts
from runner.lifecycle.board import Entry
from runner.lifecycle.checkpoints import append_note, banner
from runner.lifecycle.claim import Claim
from runner.lifecycle.parts import Parts
from runner.lifecycle.run import RunSpec
from runner.lifecycle.spellings import spellings
from runner.lifecycle.tally import Stage
from runner.lifecycle.workspace import Workspace, client_distributions
from runner.model import Cause, Request
from runner.sandboxes import devices
from runner.sandboxes.base import Command

#: Of a workspace that lacks the script.
_SHOWN_NAMES = 20


class Expired(RunnerError):
    """A limit had passed before the run could start."""

    def __init__(self, cause: Cause) -> None:
        """Name the limit."""
        super().__init__(f"its {cause.value} had passed before it could start")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was fetched and built for one attempt."""

    environment: Environment
    attachment: Attachment


@dataclass(frozen=True)
class Preparation:
    """Everything between the claim and the start of one attempt."""

    parts: Parts
    request: Request
    entry: Entry
    claim: Claim
    workspace: Workspace
    artifacts: Artifacts

    async def prepare(self, stack: AsyncExitStack) -> Prepared:
        """Fetch and build; what the run needs is kept until ``stack`` ends.

        Raises Expired, RequestError, ExperimentFailed, HostFault, Unavailable.
        """
        # Its parser takes 30 ms to import: the first experiment waits for it, the start does not.
        from runner.request.requirements import requirement_warnings  # noqa: PLC0415

        self.check_limits()
        warnings = (*self.request.warnings, *requirement_warnings(self.request))
        self.entry.begin(Stage.FETCH)
        stack.push_async_callback(self.artifacts.give_back)
        found = await self.artifacts.fetch(self.request.needs.disk)
        self._announce((*warnings, *found))
        self._check_script()
        self.entry.begin(Stage.ENVIRONMENT)
        environment = await stack.enter_async_context(
            self.parts.environments.lease(self._wanted_environment())
        )
        self.parts.tally.environment(reused=environment.reused)
        self.entry.record = self.entry.record.but(environment=environment.key)
        place = self.workspace.environment
        attachment = await self.parts.environments.attach(environment, place)
        self.workspace.hand_over(place)
        self.parts.background(lambda: self.parts.environments.compile_later(environment))
        self.entry.begin(Stage.START)
        return Prepared(environment, attachment)

    def check_limits(self) -> None:
        """Raise Expired where one has passed."""
        expired = [cause for cause, left in self.limits().items() if left <= timedelta(0)]
        if expired:
            raise Expired(expired[0])

    def _announce(self, warnings: tuple[str, ...]) -> None:
        record, text = self.entry.record, ""
        if record.attempt > 1:
            text = banner(record.attempt, self.parts.host, self.claim.previous_cause)
        text += "".join(f"studio-runner: {warning}\n" for warning in warnings)
        append_note(self.workspace.log, text)
        self.workspace.hand_over(self.workspace.log.parent)

    def _check_script(self) -> None:
        filename = self.request.experiment.filename
        code = self.artifacts.seen(WORKSPACE)
        if filename == "-m" or (code / filename).exists():
            return
        there = sorted(path.name for path in code.iterdir())[:_SHOWN_NAMES]
        raise BadField(
            "experiment.filename",
            filename,
            f"the workspace holds no such file; there are: {', '.join(there) or 'none at all'}",
        )

    def _wanted_environment(self) -> EnvironmentSpec:
        from runner.request.requirements import requirements  # noqa: PLC0415 - as above

        request, record = self.request, self.entry.record
        return EnvironmentSpec(
            python_version=request.experiment.python_version,
            requirements=requirements(
                request,
                gpus=request.needs.gpu_count > 0,
                distributions=[
                    str(path.absolute()) for path in client_distributions(self.workspace.code)
                ],
            ),
            scope=record.project,
        )

    def _command(self, prepared: Prepared) -> Command:
        environment, attachment = prepared.environment, prepared.attachment
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
            writable=spellings(self.workspace.root),
            readonly=spellings(environment.root),
            overlays=self.artifacts.overlays,
            hidden=self.parts.hidden,
            visible=self.parts.visible,
            tools=(attachment.python.resolve().parents[1],),
            binds=self.parts.binds,
            # Which of them a card is: the driver's minor numbers are in no allocation yet.
            devices=devices.of_cards(None) if self.entry.record.allocation.gpus else (),
            leases=(*self.artifacts.locks, *((environment.lock,) if environment.lock else ())),
            identity=self.parts.identity,
        )

    def spec(self, prepared: Prepared) -> RunSpec:
        """Return what is to be started, on the cards that the record names now."""
        options = self.parts.options
        return RunSpec(
            run_id=self.entry.record.run,
            directory=self.parts.records.place(self.entry.record.run),
            launch=self.parts.sandbox.launch(self._command(prepared)),
            output=self.workspace.log,
            output_limit=options.output_limit,
            limits=self.limits(),
            grace=options.kill_grace,
            orphan_timeout=options.orphan_timeout,
            runs_slice=options.runs_slice,
        )

    def limits(self) -> dict[Cause, timedelta]:
        """Return what is left of each limit now."""
        return dict(
            limits.limits(
                self.request,
                cap=self.parts.options.duration_cap,
                now=time.time(),
                claimed_at=self.entry.record.claimed_at,
            )
        )
