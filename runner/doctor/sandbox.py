"""The sandbox: a real run under a real supervisor, that looks for what it must not see."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import anyio

from runner import blocking
from runner.app.containers import default_image
from runner.app.hidden import hidden, visible
from runner.app.places import Places
from runner.app.sandbox import choose, container_sandbox, has_network
from runner.doctor.check import Finding, failed, ok, warning
from runner.doctor.examination import Tell, aside
from runner.doctor.patient import LIMIT, Patient
from runner.errors import Misconfigured
from runner.images.reference import Kind
from runner.lifecycle.runs import exits
from runner.lifecycle.runs.exits import Exit
from runner.lifecycle.runs.run import Run, RunSpec
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Bytes, Cause
from runner.sandboxes.base import Command, Sandbox

#: Prints the numbers of those of its arguments that it can look into.
_PEEP = (
    'n=0; for p; do if [ -d "$p" ]; then ls "$p" >/dev/null 2>&1 && echo $n; '
    'elif [ -r "$p" ] && [ -s "$p" ]; then echo $n; fi; n=$((n+1)); done'
)
#: Entries of one hidden directory that are looked for.
_ENTRIES = 5
_PATIENCE = timedelta(seconds=20)
_START, _HIDING, _OVERLAYS, _CONTAINERS = "start", "hiding", "overlays", "containers"
_NAMESPACES = (
    "run the daemon as root with --run-as USER, or allow user namespaces: sysctl "
    "user.max_user_namespaces=15000; on Ubuntu 24.04 also sysctl "
    "kernel.apparmor_restrict_unprivileged_userns=0, or the profile of studio-runner "
    "install-service"
)


async def look(patient: Patient, tell: Tell) -> None:
    """Start a run, let another one look around, try an overlay."""
    with patient.scratch() as scratch:
        places = replace(patient.places, state=scratch, identity=patient.identity)
        try:
            network = has_network(patient.settings)
            sandbox = (await choose(patient.settings.sandbox, places, network=network)).sandbox
        except Misconfigured as error:
            tell(failed(str(error), _NAMESPACES, _START))
            return
        trial = _Trial(patient, sandbox, scratch)
        ended = await trial.run("true", ("/bin/true",))
        started = _of_start(ended, sandbox.name)
        tell(started)
        if ended.code == 0:
            tell(await trial.peep())
        tell(await trial.overlay())
        tell(await _containers(patient, places))


async def _containers(patient: Patient, places: Places) -> Finding:
    """Start a container, in the operator's image where one is at hand."""
    image = None
    is_wanted = bool(patient.settings.container.strip())
    try:
        default = default_image(patient.settings)
        if default is not None and default.kind is Kind.LOCAL:
            image = default.path
        choice = await container_sandbox(patient.settings, places, image)
    except Misconfigured as error:
        if is_wanted:
            return failed(str(error), _NAMESPACES, _CONTAINERS)
        return ok(f"experiments with an image are left to other runners: {error}", _CONTAINERS)
    return ok(choice.why, _CONTAINERS)


@dataclass(frozen=True, slots=True)
class _Trial:
    patient: Patient
    sandbox: Sandbox
    scratch: Path

    async def run(self, name: str, argv: tuple[str, ...]) -> Exit:
        """Run a command as an experiment is run. Raises Misconfigured, HostFault."""
        workspace = Workspace.create(self.scratch, name, self.patient.identity)
        command = Command(
            argv=argv,
            cwd=workspace.code,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            writable=(workspace.root,),
            hidden=(self._canary.parent, *self._hidden),
            visible=visible(self.patient.settings),
            network=has_network(self.patient.settings),
            identity=self.patient.identity,
        )
        run = await Run.start(
            RunSpec(
                run_id=f"doctor-{workspace.name}-{os.getpid()}",
                directory=self.scratch / f"run-{name}",
                launch=self.sandbox.launch(command),
                output=self._output(name),
                output_limit=Bytes(1 << 20),
                limits={Cause.TIME_LIMIT: _PATIENCE},
                grace=timedelta(0),
                orphan_timeout=_PATIENCE,
            )
        )
        try:
            return await run.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await run.end()
                await run.forget()

    async def peep(self) -> Finding:
        """Have the run look for credentials, records and messages."""
        wanted = await aside(self._wanted)
        await self.run("peep", ("/bin/sh", "-c", _PEEP, "sh", *map(str, wanted)))
        text = self._output("peep").read_text(errors="replace")
        seen = [wanted[int(line)] for line in text.splitlines() if line.isdigit()]
        return _of_hiding(
            seen, len(wanted), self.sandbox, is_other=self.patient.identity is not None
        )

    async def overlay(self) -> Finding:
        """Try to lay a run's changes over what the artifact cache holds."""
        cache = self.patient.settings.cache_dir
        lower = cache if cache is not None and cache.is_dir() else self.scratch / "lower"
        lower.mkdir(exist_ok=True)
        # Where experiments are many users, each is shown what is kept as its own.
        other = self.patient.identity if self.patient.places.pool else None
        can = await blocking.call(
            lambda _: self.sandbox.try_overlays(lower=lower, upper=self.scratch, identity=other),
            limit=LIMIT,
        )
        if can:
            return ok("kept artifacts are attached without being copied", _OVERLAYS)
        return warning(
            "no overlay can be mounted here: kept artifacts are copied for each experiment",
            f"{_NAMESPACES}; and keep --working-dir and --cache-dir on ext4 or XFS",
            _OVERLAYS,
        )

    def _wanted(self) -> list[Path]:
        """Return what the run is to look for, a file of our own first; all of it is there."""
        self._canary.parent.mkdir(exist_ok=True)
        self._canary.write_text("hidden\n")
        shown = visible(self.patient.settings)
        below = (_some(path, (*shown, self.scratch)) for path in self._hidden)
        return [self._canary, *itertools.chain.from_iterable(below)]

    @property
    def _canary(self) -> Path:
        return self.scratch / "secret" / "canary"

    @property
    def _hidden(self) -> tuple[Path, ...]:
        patient = self.patient
        return hidden(patient.settings, patient.places, patient.environ)

    def _output(self, name: str) -> Path:
        return self.scratch / f"output-{name}"


def _some(path: Path, shown: Sequence[Path]) -> list[Path]:
    """Return a file itself, of a directory some entries that lead to nothing that is shown."""
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where we may not look
        return [path] if path.is_file() else []
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return []
    return [one for one in entries if not any(place.is_relative_to(one) for place in shown)][
        :_ENTRIES
    ]


def _of_start(ended: Exit, name: str) -> Finding:
    if ended.code == 0:
        return ok(f"a run was started in the sandbox {name!r} and ended", _START)
    if ended.reason == exits.SANDBOX_UNAVAILABLE:
        return failed(ended.detail, _NAMESPACES, _START)
    said = ended.detail or f"exit code {ended.code}, signal {ended.signal}"
    return failed(f"/bin/true ended with: {said}", "see what ended it: dmesg", _START)


def _of_hiding(seen: Sequence[Path], looked: int, sandbox: Sandbox, *, is_other: bool) -> Finding:
    if not seen:
        return ok(
            f"an experiment looked for credentials, records and messages, and sees none of the "
            f"{looked} that are there",
            _HIDING,
        )
    sentence = f"an experiment can look into {seen[-1]}"
    sentence += f" and {len(seen) - 1} more places" if len(seen) > 1 else ""
    if sandbox.hides:
        return failed(f"{sentence} although it is to be hidden", _NAMESPACES, _HIDING)
    others = [path for path in seen if path.name != "canary"]
    if is_other and not others:
        return ok("nothing can be hidden here, and file permissions keep experiments out", _HIDING)
    return (failed if is_other else warning)(
        f"{sentence}: nothing can be hidden on this machine", _NAMESPACES, _HIDING
    )
