"""From what an experiment wants to a plan: which interpreter, which exact list, shared by whom."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

from runner import blocking
from runner.environments import interpreters, layering
from runner.environments.base import EnvironmentSpec
from runner.environments.failures import explain
from runner.environments.installer import Installer
from runner.environments.interpreters import Interpreter, Interpreters
from runner.environments.layering import Base
from runner.environments.places import Places
from runner.environments.plan import Plan, address
from runner.environments.requirements import Requirements, package_names, parse
from runner.environments.resolve import Resolver
from runner.environments.within import Within
from runner.errors import Misconfigured, PythonMissing

_INSTALLER = f"uv {importlib.metadata.version('uv')}"
#: From this version on ``distutils`` comes with setuptools or not at all.
_WITHOUT_DISTUTILS = (3, 12)


class Planner:
    """Plans environments; the same spec gives the same plan while resolutions are remembered."""

    def __init__(
        self,
        found: Interpreters,
        resolver: Resolver,
        installer: Installer,
        places: Places,
        *,
        default_python: str | None,
        base_environment: Path | None,
        threads: blocking.Limit,
        report: Callable[[str], None],
    ) -> None:
        self._interpreters = found
        self._resolver = resolver
        self._installer = installer
        self._places = places
        self._default = default_python
        self._base_environment = base_environment
        self._threads = threads
        self._report = report

    async def plan(self, spec: EnvironmentSpec) -> Plan:
        """Return the plan. Raises as ``Environments.lease`` does."""
        wanted = parse(spec.requirements)
        if spec.within is not None:
            return await self._plan_within(spec, spec.within, wanted)
        found = await blocking.call(lambda _: self._interpreters.find(), limit=self._threads)
        base, interpreter = await self._layer(spec, found)
        if interpreter is None:
            interpreter = await self._choose(spec.python_version, found)
        pip = _wheel_of_pip(interpreter, found)
        companions = _companions(wanted, interpreter, pip)
        resolution = await self._resolver.resolve(wanted, interpreter, base, companions, spec.scope)
        if resolution.warning:
            self._report(resolution.warning)
        if "pip" in package_names(resolution.lines):
            pip = ""
        scope = spec.scope if resolution.runs_code else None
        key = address(
            interpreter,
            resolution,
            sources=self._installer.sources.fingerprint(),
            installer=_INSTALLER,
            base=base,
            pip=pip,
            scope=scope,
        )
        return Plan(interpreter, base, resolution, pip, scope, key)

    async def _plan_within(
        self, spec: EnvironmentSpec, within: Within, wanted: Requirements
    ) -> Plan:
        """Plan for a container image: its Python counts, and what it has need not be installed."""
        scope = within.scope(spec.scope)
        resolution = await self._resolver.resolve(
            wanted, within.interpreter, within.base, (), scope, within=within
        )
        key = address(
            within.interpreter,
            resolution,
            sources=self._installer.sources.fingerprint(),
            installer=_INSTALLER,
            base=within.base,
            pip="",
            scope=scope,
        )
        return Plan(within.interpreter, within.base, resolution, "", scope, key, within)

    async def _choose(self, wanted: str | None, found: list[Interpreter]) -> Interpreter:
        asked = wanted or self._default or ""
        default = self._default or ".".join(str(part) for part in sys.version_info[:3])
        if asked.startswith("/"):
            return await self._given(Path(asked))
        try:
            return interpreters.choose(asked, found, default)
        except PythonMissing:
            if not self._installer.allow_downloads or not interpreters.is_supported(asked):
                raise
        await self._download(asked)
        found = await blocking.call(lambda _: self._interpreters.find(), limit=self._threads)
        return interpreters.choose(asked, found, default)

    async def _given(self, path: Path) -> Interpreter:
        """Take the interpreter that the operator named."""
        found = await blocking.call(lambda _: self._interpreters.ask(path), limit=self._threads)
        if found is None:
            raise Misconfigured(f"--default-python {path} is no CPython interpreter that runs here")
        return found

    async def _download(self, version: str) -> None:
        async with self._places.place(None) as place:
            command = ["python", "install", "--no-bin", version]
            finished = await self._installer.run(command, place)
        if finished.code != 0:
            raise explain(finished.text)

    async def _layer(
        self, spec: EnvironmentSpec, found: list[Interpreter]
    ) -> tuple[Base | None, Interpreter | None]:
        """Return the base and its interpreter; neither where another Python is wanted."""
        if self._base_environment is None:
            return None, None
        prefix = self._base_environment
        base = await blocking.call(lambda _: layering.look(prefix), limit=self._threads)
        own = next((one for one in found if one.path == base.interpreter), None)
        if own is None:
            own = await self._given(base.interpreter)
        if spec.python_version and not interpreters.begins(own.version, spec.python_version):
            self._report(
                f"the base environment has Python {own.version}, the experiment asks for "
                f"{spec.python_version}: it is built without the base"
            )
            return None, None
        return base, own


def _companions(wanted: Requirements, interpreter: Interpreter, pip: str) -> tuple[str, ...]:
    """Return what every environment has beside what is wanted, unless it is wanted."""
    companions = [] if pip else ["pip"]
    if interpreter.numbers >= _WITHOUT_DISTUTILS:
        companions.append("setuptools")
    return tuple(name for name in companions if name not in wanted.names)


def _wheel_of_pip(interpreter: Interpreter, found: list[Interpreter]) -> str:
    """Return the wheel that an interpreter carries; a neighbour's where this one has none."""
    if interpreter.pip:
        return interpreter.pip
    others = sorted((one for one in found if one.pip), key=lambda one: one.numbers)
    newer = [one for one in others if one.numbers >= interpreter.numbers]
    nearest = newer[:1] or others[-1:]
    return nearest[0].pip if nearest else ""
