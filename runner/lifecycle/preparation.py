"""Makes an attempt ready to run: artifacts in place, environment attached, command known."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from runner.environments.base import Environment, EnvironmentSpec
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
from runner.request.requirements import requirement_warnings, requirements
from runner.sandboxes.base import Command

#: Of a workspace that lacks the script.
_SHOWN_NAMES = 20


class Expired(RunnerError):
    """A limit had passed before the run could start."""

    def __init__(self, cause: Cause) -> None:
        """Name the limit."""
        super().__init__(f"its {cause.value} had passed before it could start")
        self.cause = cause


@dataclass(frozen=True)
class Preparation:
    """Everything between the claim and the start of one attempt."""

    parts: Parts
    request: Request
    entry: Entry
    claim: Claim
    workspace: Workspace
    artifacts: Artifacts

    async def prepare(self, stack: AsyncExitStack) -> RunSpec:
        """Fetch and build; what the run needs is kept until ``stack`` ends.

        Raises Expired, RequestError, ExperimentFailed, HostFault, Unavailable.
        """
        expired = [cause for cause, left in self._limits().items() if left <= timedelta(0)]
        if expired:
            raise Expired(expired[0])
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
        command = await self._command(environment)
        self.parts.background(lambda: self.parts.environments.compile_later(environment))
        self.entry.begin(Stage.START)
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
        request, record = self.request, self.entry.record
        return EnvironmentSpec(
            python_version=request.experiment.python_version,
            requirements=requirements(
                request,
                gpus=bool(record.allocation.gpus),
                distributions=[
                    str(path.absolute()) for path in client_distributions(self.workspace.code)
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
            writable=spellings(self.workspace.root),
            readonly=spellings(environment.root),
            overlays=self.artifacts.overlays,
            hidden=self.parts.hidden,
            visible=(*self.parts.visible, attachment.python.resolve().parents[1]),
            leases=(*self.artifacts.locks, *((environment.lock,) if environment.lock else ())),
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
            runs_slice=options.runs_slice,
        )

    def _limits(self) -> dict[Cause, timedelta]:
        return dict(
            limits.limits(
                self.request,
                cap=self.parts.options.duration_cap,
                now=time.time(),
                claimed_at=self.entry.record.claimed_at,
            )
        )
