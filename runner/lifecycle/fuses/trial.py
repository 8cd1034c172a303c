"""A probe experiment: as small as can be, through all that an experiment needs of a machine."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.environments.base import EnvironmentSpec
from runner.errors import RunnerError
from runner.lifecycle.parts import Parts
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.run import Run, RunSpec
from runner.lifecycle.runs.spellings import spellings
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Allocation, Bytes, Cause, Identity
from runner.sandboxes.base import Bounds, Command

_log = log.get_logger(__name__)

#: Computes, and has the disk keep something.
_SCRIPT = """
import os, pathlib
file = pathlib.Path('written')
with file.open('wb') as body:
    body.write(b'x' * (1 << 20))
    body.flush()
    os.fsync(body.fileno())
assert file.stat().st_size == 1 << 20
file.unlink()
print('passed')
"""
_NAME = "probe"
_SCOPE = "studio-runner"
_PASSED = b"passed\n"
#: For the run, and for all of it with the environment.
_LIMIT, _PATIENCE = timedelta(seconds=60), 300.0
_OUTPUT = Bytes(64 << 10)
_LONGEST_WORDS = 300
#: Far more than it takes.
_SHARE = Allocation(cores=1, memory=Bytes(512 << 20), disk=Bytes(0))


@dataclass(frozen=True)
class Trial:
    """Runs where, as whom, and behind the walls that experiments run; no queue and no store."""

    parts: Parts

    async def probe(self) -> str:
        """Run it; return what went wrong, or nothing. Nothing of it stays."""
        try:
            with anyio.fail_after(_PATIENCE):
                return await self._tried()
        except TimeoutError:
            return f"it was not over within {_PATIENCE:.0f} s"
        except (RunnerError, OSError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - who cannot try a machine cannot trust it
            _log.error("a defect of the runner in a probe experiment", exc_info=error)
            return f"{type(error).__name__}: {error}"

    async def _tried(self) -> str:
        users = self.parts.users
        identity = await users.take()
        try:
            workspace = Workspace.create(self.parts.working_dir, _NAME, identity)
            try:
                return await self._run(workspace, identity)
            finally:
                with anyio.CancelScope(shield=True):
                    await workspace.remove()
        finally:
            with anyio.CancelScope(shield=True):
                await users.give_back(identity)

    async def _run(self, workspace: Workspace, identity: Identity | None) -> str:
        async with AsyncExitStack() as stack:
            command = await self._command(workspace, identity, stack)
            run = await Run.start(self._spec(workspace, command), self.parts.server)
            try:
                end = await run.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await run.end()
                    await run.forget()
        return _trouble(end, workspace.log.read_bytes)

    async def _command(
        self, workspace: Workspace, identity: Identity | None, stack: AsyncExitStack
    ) -> Command:
        parts = self.parts
        wanted = EnvironmentSpec(None, (), _SCOPE, identity=identity)
        environment = await stack.enter_async_context(parts.environments.lease(wanted))
        attachment = await parts.environments.attach(environment, workspace.environment)
        workspace.hand_over(workspace.environment)
        return Command(
            argv=(str(attachment.python), "-c", _SCRIPT),
            cwd=workspace.code,
            env={
                **parts.options.base_variables,
                **parts.users.variables(identity),
                **attachment.variables,
            },
            writable=spellings(workspace.root),
            readonly=spellings(environment.root),
            hidden=parts.hidden,
            visible=parts.visible,
            tools=(attachment.python.resolve().parents[1],),
            binds=parts.binds,
            network=parts.options.network,
            leases=(environment.lock,) if environment.lock else (),
            identity=identity,
        )

    def _spec(self, workspace: Workspace, command: Command) -> RunSpec:
        options, run = self.parts.options, f"{_NAME}-{secrets.token_hex(8)}"
        return RunSpec(
            run_id=run,
            # No record lies there: a daemon that comes after us sweeps what is left.
            directory=self.parts.records.directory / run,
            launch=self.parts.sandbox.launch(command),
            output=workspace.log,
            output_limit=_OUTPUT,
            limits={Cause.TIME_LIMIT: _LIMIT},
            grace=timedelta(0),
            orphan_timeout=_LIMIT,
            runs_slice=options.runs_slice,
            bounds=self._bounds(),
        )

    def _bounds(self) -> Bounds:
        """Bound it as an experiment that asks for little; it takes no share, and waits for none."""
        parts = self.parts
        total = parts.intake.ledger.total.memory
        return parts.options.bounding.of(_SHARE, total, own_user=parts.users.is_pool)


def _trouble(end: Exit, read: Callable[[], bytes]) -> str:
    try:
        said = read()
    except OSError as error:
        return f"its output cannot be read: {error}"
    if end.code == 0 and said.endswith(_PASSED):
        return ""
    words = " ".join(said.decode("utf-8", "replace").split())[-_LONGEST_WORDS:]
    ended = end.detail or f"it ended with {end.signal or end.code}"
    return f"{ended}: {words}" if words else ended
