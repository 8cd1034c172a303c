"""Builds one environment: an empty virtual environment, one installer run, sealed, put in place."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from pathlib import Path

from runner import blocking
from runner.environments import interpreters, manifest, protection, scripts, venv
from runner.environments.cache import EnvironmentCache
from runner.environments.failures import explain
from runner.environments.installer import Installer, Place
from runner.environments.manifest import Manifest
from runner.environments.places import Places
from runner.environments.plan import Plan
from runner.environments.requirements import parse

#: A console script whose first lines are looked at is smaller.
_SCRIPT = 1 << 20
_NOT_OURS = ("activate", "deactivate")


class Builder:
    """Builds plans."""

    def __init__(
        self,
        cache: EnvironmentCache,
        places: Places,
        installer: Installer,
        threads: blocking.Limit,
    ) -> None:
        self._cache = cache
        self._places = places
        self._installer = installer
        self._threads = threads

    async def build(self, plan: Plan) -> Manifest:
        """Build and publish. Raises RequirementsFailed, Unavailable, OutOfDisk."""
        async with self._places.place(plan.scope) as place:
            root = place.scratch.parent / "environment"
            await blocking.call(lambda _: self._prepare(plan, place, root), limit=self._threads)
            await self._install(plan, place, root)
            known = await blocking.call(lambda _: _finish(plan, place, root), limit=self._threads)
            self._cache.publish(root, plan.key)
        return known

    def _prepare(self, plan: Plan, place: Place, root: Path) -> None:
        root.mkdir(mode=0o755)
        venv.make(root, plan.interpreter)
        lines = [*self._installer.sources.lines(), *plan.resolution.lines]
        if plan.pip:
            lines.append(str(self._kept(Path(plan.pip))))
        (place.scratch / "exact.in").write_text("".join(f"{line}\n" for line in lines))
        if place.identity is not None:
            for folder, folders, files in os.walk(root):
                for name in (".", *folders, *files):
                    self._places.give(Path(folder, name))

    def _kept(self, wheel: Path) -> Path:
        """Return a copy that every builder can read, always in one place: uv remembers by path."""
        kept = self._cache.root / "pip" / wheel.name
        # One that a power cut has left empty would fail every experiment for its requirements.
        if not kept.exists() or not filecmp.cmp(wheel, kept, shallow=False):
            kept.parent.mkdir(mode=0o755, exist_ok=True)
            new = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(wheel, new)
            new.chmod(0o644)
            new.replace(kept)
        return kept

    async def _install(self, plan: Plan, place: Place, root: Path) -> None:
        if not plan.resolution.lines and not plan.pip:
            return
        command = ["pip", "install", "--python", str(root / "bin" / "python"), "--no-deps"]
        command += ["-r", str(place.scratch / "exact.in")]
        command += ["--torch-backend", plan.resolution.torch] if plan.resolution.torch else []
        command += [] if plan.resolution.runs_code else ["--no-build"]
        # Nobody else can: later compiling would take the image's own Python.
        command += ["--compile-bytecode"] if plan.within else []
        finished = await self._installer.run(command, place, plan.within)
        if finished.code != 0:
            raise explain(finished.text, parse(plan.resolution.lines).addresses)


def _finish(plan: Plan, place: Place, root: Path) -> Manifest:
    (root / ".lock").unlink(missing_ok=True)
    protection.seal(root, place.identity)
    own, others = _programs(root)
    known = Manifest(
        survey=manifest.survey(root),
        interpreter=interpreters.describe(plan.interpreter),
        scripts=own,
        programs=others,
        beneath=plan.base.folders if plan.base else (),
        packages=plan.resolution.lines,
    )
    known.write(root)
    return known


def _programs(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the scripts that name the interpreter of ``root``, and all other programs."""
    own, others = [], []
    for path in sorted((root / "bin").iterdir()):
        if path.name.startswith(_NOT_OURS) or path.name in _interpreters(root):
            continue
        found = path.lstat()
        small = stat.S_ISREG(found.st_mode) and found.st_size <= _SCRIPT
        if small and scripts.names_interpreter(path.read_bytes(), f"{root}/bin/"):
            own.append(path.name)
        else:
            others.append(path.name)
    return tuple(own), tuple(others)


def _interpreters(root: Path) -> frozenset[str]:
    """Return the names that ``venv.make`` made."""
    links = (path for path in (root / "bin").iterdir() if path.is_symlink())
    return frozenset(path.name for path in links if path.name.startswith("python"))
