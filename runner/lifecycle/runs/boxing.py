"""Puts one experiment into its container image: the image leased, its inside known."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from runner import blocking
from runner.environments.base import Attachment
from runner.environments.installer import Finished, Place
from runner.environments.interpreters import begins
from runner.environments.within import Within
from runner.errors import ArtifactMissing, RequirementsFailed, host_fault
from runner.images.base import Errand, Image
from runner.images.interior import Interior
from runner.images.reference import Kind, Reference
from runner.lifecycle.artifacts.forms import IMAGE
from runner.lifecycle.artifacts.image import ImageArtifact
from runner.lifecycle.runs.containers import Shop
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Request
from runner.sandboxes.base import Command

#: What an image does when nobody says what to run in it.
RUNSCRIPT = "/.singularity.d/runscript"
#: Of a directory: where a change of what is installed shows.
_PACKAGES = (
    "usr/lib/python3*/*-packages",
    "usr/local/lib/python3*/*-packages",
    "opt/*/lib/python3*/*-packages",
)
_BUILD_PATIENCE = timedelta(hours=2)
_KILLED = -9
_LIMIT = blocking.Limit(2)


@dataclass(frozen=True, slots=True)
class Box:
    """What one experiment runs in."""

    shop: Shop
    image: Image
    #: ``None`` where the image's own program runs.
    interior: Interior | None

    @property
    def attachment(self) -> Attachment:
        """The image's own Python, with its own packages."""
        return Attachment(Path(self.interior.python if self.interior else RUNSCRIPT))

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return what the experiment's environment begins with: the image's own search path."""
        return {**base, "PATH": self.interior.path if self.interior else ""}

    def around(self, command: Command) -> Command:
        """Have a command run in the image, where it sees nothing of this machine but its own."""
        env, argv = command.env, command.argv
        if self.interior is None:
            argv = (RUNSCRIPT, *argv[2:])  # there is no script
            env = {name: value for name, value in env.items() if name != "PATH" or value}
        lock = (self.image.lock,) if self.image.lock else ()
        return replace(
            command,
            argv=argv,
            env=env,
            image=self.image.path,
            visible=(),
            tools=(),
            leases=(*command.leases, *lock),
        )

    def warnings(self, request: Request) -> tuple[str, ...]:
        """Return sentences about what of the request counts for nothing in the image."""
        wanted = request.experiment.python_version
        if self.interior is None:
            if not request.experiment.requirements:
                return ()
            return ("pythonenv is not installed: the container image's own program is run",)
        if begins(self.interior.version, wanted or ""):
            return ()
        used = f"the Python of the container image is used, {self.interior.version}"
        return (f"pythonver asks for {wanted}, and {used}",)

    def within(self, code: Path) -> Within:
        """Return what builds an environment in the image; ``code`` may hold distributions.

        Raises RequirementsFailed for a Python that is too old.
        """
        interior = self.interior
        if interior is None or interior.interpreter is None or interior.base is None:
            found = f"Python {interior.version}" if interior else "no Python"
            raise RequirementsFailed(
                f"pythonenv cannot be installed over {found} of the container image "
                f"{self.image.name}: have the image bring what is needed"
            )

        async def enter(
            argv: Sequence[str], place: Place, env: Mapping[str, str], readonly: Sequence[Path]
        ) -> Finished:
            errand = Errand(
                tuple(argv),
                f"build-{secrets.token_hex(8)}",
                _BUILD_PATIENCE,
                place.scratch,
                env,
                writable=(place.scratch.parent, place.cache),
                readonly=(*readonly, code),
                image=self.image.path,
                identity=place.identity,
            )
            ended = await self.shop.errands.run(errand)
            return Finished(_KILLED if ended.code is None else ended.code, ended.text)

        return Within(self.image.key, interior.interpreter, interior.base, enter)


@dataclass(frozen=True)
class Boxing:
    """Gets the image of one attempt."""

    shop: Shop
    request: Request
    workspace: Workspace
    #: Fetches an image that is an artifact.
    artifact: Callable[[], ImageArtifact]

    async def box(self, reference: Reference, stack: AsyncExitStack) -> Box:
        """Have the image until ``stack`` ends.

        Raises ArtifactMissing, ArtifactBad, PythonMissing, Unavailable, HostFault, OutOfDisk.
        """
        image = await self._image(reference, stack)
        experiment = self.request.experiment
        interior = None
        if experiment.filename:
            interior = await self.shop.interiors.look(image, experiment.python_version)
        return Box(self.shop, image, interior)

    async def _image(self, reference: Reference, stack: AsyncExitStack) -> Image:
        if reference.kind is Kind.REGISTRY:
            return await stack.enter_async_context(self.shop.images.lease(reference))
        if reference.kind is Kind.LOCAL:
            found = await blocking.call(lambda _: _local(reference), limit=_LIMIT)
        else:
            found = await self.artifact().fetch(reference, stack, self.shop.largest)
        if not reference.is_recipe:
            return found
        return await stack.enter_async_context(self.shop.images.lease(reference, found.path))


def _local(reference: Reference) -> Image:
    """Return an image where it lies; blocks."""
    path = reference.path
    try:
        real = path.resolve(strict=True)
        facts = "\n".join(_facts(real))
    except FileNotFoundError as error:
        raise ArtifactMissing(
            f"artifact {IMAGE!r}: there is no container image {path} on this machine"
        ) from error
    except OSError as error:
        raise host_fault(f"the container image {path} cannot be read", error) from error
    return Image(reference.text, real, hashlib.sha256(facts.encode()).hexdigest()[:32])


def _facts(path: Path) -> Iterator[str]:
    for one in (path, *(found for pattern in _PACKAGES for found in sorted(path.glob(pattern)))):
        found = one.stat()
        yield f"{one} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
