"""The environment builder: a real, tiny environment built and started, and an index resolved.

Everything happens in a directory of the doctor's own: what the daemon keeps is not touched.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import anyio

from runner.app.environments import environments
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell
from runner.doctor.patient import Patient
from runner.environments.base import Attachment, Environments, EnvironmentSpec
from runner.errors import PythonMissing, RequirementsFailed
from runner.sandboxes import SANDBOXES
from runner.sandboxes.base import Sandbox

#: Small, without dependencies, and on every index that is worth its name.
_PACKAGE = "iniconfig"
#: Seconds for an index to answer; uv itself tries for longer.
_INDEX = 45.0
_SCOPE = "doctor"
_BUILD, _RESOLVE = "a tiny environment", "the package index"
_SHOWN = 300


async def look(patient: Patient, tell: Tell) -> None:
    """Build, start what was built, then resolve one package."""
    with patient.scratch() as scratch:
        places = replace(patient.places, state=scratch, identity=patient.identity)
        sandbox = cast("Sandbox", SANDBOXES.load("plain")())  # what builds hide, any hides
        async with environments(patient.settings, places, sandbox) as builder:
            trial = _Trial(patient, builder, scratch)
            finding = await trial.build()
            tell(finding)
            tell(await trial.resolve())


@dataclass(frozen=True, slots=True)
class _Trial:
    patient: Patient
    builder: Environments
    scratch: Path

    async def build(self) -> Finding:
        """Build an environment of no requirements, and start its Python."""
        try:
            async with self.builder.lease(EnvironmentSpec(None, (), _SCOPE)) as environment:
                into = self.scratch / "attached"
                attachment = await self.builder.attach(environment, into)
                version = await self._started(attachment)
        except PythonMissing as error:
            return failed(str(error), "install it, or set --default-python", _BUILD)
        except RequirementsFailed as error:
            return failed(_brief(str(error)), "set --default-python to another Python", _BUILD)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            return failed(
                f"it was built and cannot be started: {_brief(said.decode(errors='replace'))}",
                "let the user of --run-as read the interpreter, or set --default-python",
                _BUILD,
            )
        return ok(f"Python {version}, built in {environment.seconds:.1f} s and started", _BUILD)

    async def _started(self, attachment: Attachment) -> str:
        """Run it as experiments are run. Raises CalledProcessError, OSError."""
        identity = self.patient.identity
        command = [str(attachment.python), "-c", "import sys; print(sys.version.split()[0])"]
        done = await anyio.run_process(
            command,
            cwd="/",
            env={},
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=() if identity else None,
        )
        return done.stdout.decode().strip()

    async def resolve(self) -> Finding:
        """Have one package installed from the index that the settings name."""
        settings = self.patient.settings
        if settings.no_index:
            return skipped("--no-index: packages come from --find-links alone", "", _RESOLVE)
        say = failed if settings.given("index_url") else warning
        try:
            with anyio.fail_after(_INDEX):
                spec = EnvironmentSpec(None, (_PACKAGE,), _SCOPE)
                async with self.builder.lease(spec) as environment:
                    took = environment.seconds
        except RequirementsFailed as error:
            return say(f"{_PACKAGE} cannot be installed: {_brief(str(error))}", _REMEDY, _RESOLVE)
        except TimeoutError:
            return say(f"no answer within {_INDEX:g} s", _REMEDY, _RESOLVE)
        return ok(f"{_PACKAGE} resolved and installed in {took:.1f} s", _RESOLVE)


_REMEDY = (
    "set --index-url, or HTTPS_PROXY and SSL_CERT_FILE in the daemon's environment; without any "
    "index, --no-index and --find-links DIRECTORY"
)


def _brief(text: str) -> str:
    """Return the end of an installer's words, on one line: the reason comes last."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"…{line[-_SHOWN:]}"
