"""Makes an attempt ready to run: artifacts in place, environment attached, command known."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from runner.environments.base import Attachment, Environment, EnvironmentSpec
from runner.environments.whose import working_for
from runner.errors import BadField, HostFault, RunnerError
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.checkpoints import append_note, banner
from runner.lifecycle.artifacts.forms import WORKSPACE
from runner.lifecycle.board import Entry
from runner.lifecycle.ownership.claim import Claim
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs import limits, variables
from runner.lifecycle.runs.boxing import Box, Boxing
from runner.lifecycle.runs.containers import Closed
from runner.lifecycle.runs.run import RunSpec
from runner.lifecycle.runs.spellings import spellings
from runner.lifecycle.runs.workspace import Workspace, client_distributions
from runner.lifecycle.tally import Stage
from runner.model import Allocation, Cause, Request
from runner.sandboxes import devices
from runner.sandboxes.base import Bounds, Command, Sandbox

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

    attachment: Attachment
    #: ``None``: what the image has is enough.
    environment: Environment | None = None
    #: The container image that it runs in.
    box: Box | None = None


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
        box = await self._box(stack)
        warnings += box.warnings(self.request) if box else ()
        stack.push_async_callback(self.artifacts.give_back)
        found = await self.artifacts.fetch(self.request.needs.disk)
        self._announce((*warnings, *found))
        self._check_script()
        self.entry.record = self.entry.record.but(attached=self.artifacts.attached)
        self.entry.begin(Stage.ENVIRONMENT)
        prepared = await self._environment(stack, box)
        self.entry.begin(Stage.START)
        return prepared

    async def _box(self, stack: AsyncExitStack) -> Box | None:
        """Have the container image, before anything else is fetched for an experiment that has one.

        Raises BadField for an image that is not trusted, and what ``Boxing.box`` does.
        """
        reference = await self.parts.containers.wanted(self.request)
        if reference is None:
            return None
        shop = await self.parts.containers.shop()
        if isinstance(shop, Closed):  # since it was asked, at the claim
            raise HostFault(f"no container can be started on this machine any more: {shop.why}")
        self.entry.record = self.entry.record.but(image=reference.text)
        boxing = Boxing(shop, self.request, self.workspace, self.artifacts.image)
        with working_for(self.workspace.identity):
            return await boxing.box(reference, stack)

    async def _environment(self, stack: AsyncExitStack, box: Box | None) -> Prepared:
        """Have the requirements installed; over what the image has, where there is one."""
        spec = self._wanted_environment()
        if box is not None:
            if box.interior is None or not spec.requirements:
                return Prepared(box.attachment, box=box)
            spec = replace(spec, within=box.within(self.workspace.code))
        environment = await stack.enter_async_context(self.parts.environments.lease(spec))
        self.parts.tally.environment(reused=environment.reused)
        self.entry.record = self.entry.record.but(environment=environment.key)
        place = self.workspace.environment
        attachment = await self.parts.environments.attach(environment, place)
        self.workspace.hand_over(place)
        self.parts.background(lambda: self.parts.environments.compile_later(environment))
        return Prepared(attachment, environment, box)

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
        append_note(self.workspace.log, self.parts.redactor.redact(text))
        self.workspace.hand_over(self.workspace.log.parent)

    def _check_script(self) -> None:
        filename = self.request.experiment.filename
        code = self.artifacts.seen(WORKSPACE)
        if filename in {"", "-m"} or (code / filename).exists():
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
            identity=self.workspace.identity,
        )

    def _command(self, prepared: Prepared, bounds: Bounds) -> Command:
        environment, attachment, box = prepared.environment, prepared.attachment, prepared.box
        experiment = self.request.experiment
        base = {
            **self.parts.options.base_variables,
            **self.parts.users.variables(self.workspace.identity),
        }
        env = variables.variables(
            self.request,
            self.entry.record.allocation,
            base=box.variables(base) if box else base,
            home=self.workspace.home,
            scratch=self.workspace.scratch,
            name=self.workspace.name,
            attachment=attachment,
        )
        env |= self.entry.trail.handed(self.entry.record)
        command = Command(
            argv=(str(attachment.python), experiment.filename, *experiment.args),
            cwd=self.workspace.code,
            env=env,
            writable=spellings(self.workspace.root),
            readonly=spellings(environment.root) if environment else (),
            overlays=self.artifacts.overlays,
            hidden=self.parts.hidden,
            visible=self.parts.visible,
            tools=(attachment.python.resolve().parents[1],),
            binds=self.parts.binds,
            memory=bounds.memory,
            devices=_nodes(self.entry.record.allocation),
            leases=(*self.artifacts.locks, *_lock(environment)),
            network=self.parts.options.network,
            identity=self.workspace.identity,
        )
        return box.around(command) if box else command

    def _sandbox(self, prepared: Prepared) -> Sandbox:
        return prepared.box.shop.sandbox if prepared.box else self.parts.sandbox

    def spec(self, prepared: Prepared) -> RunSpec:
        """Return what is to be started, on the cards that the record names now."""
        options, bounds = self.parts.options, self._bounds()
        return RunSpec(
            run_id=self.entry.record.run,
            directory=self.parts.records.place(self.entry.record.run),
            launch=self._sandbox(prepared).launch(self._command(prepared, bounds)),
            output=self.workspace.log,
            output_limit=options.output_limit,
            limits=self.limits(),
            grace=options.kill_grace,
            orphan_timeout=options.orphan_timeout,
            runs_slice=options.runs_slice,
            bounds=bounds,
        )

    def _bounds(self) -> Bounds:
        return self.parts.options.bounding.of(
            self.entry.record.allocation,
            self.parts.intake.ledger.total.memory,
            own_user=self.parts.users.is_pool,
        )

    def whole_limits(self) -> dict[Cause, timedelta]:
        """Return each limit as it was given: a lifetime from the submission on."""
        cap, lifetime = self.parts.options.duration_cap, self.request.lifetime
        longest = min(cap, self.request.experiment.max_duration or cap)
        found = {Cause.TIME_LIMIT: longest}
        return found if lifetime is None else found | {Cause.LIFETIME: lifetime}

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


def _lock(environment: Environment | None) -> tuple[Path, ...]:
    return (environment.lock,) if environment and environment.lock else ()


def _nodes(share: Allocation) -> tuple[Path, ...]:
    """Return the device nodes of its cards."""
    if not share.gpus:
        return ()
    return devices.of_cards(share.gpu_minors, capabilities=share.gpu_capabilities)
