"""The artifacts of one attempt: fetched before it runs, stored while and after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from runner.errors import host_fault
from runner.lifecycle.artifacts.fetching import Fetcher
from runner.lifecycle.artifacts.forms import IMAGE, METADATA, OUTPUT
from runner.lifecycle.artifacts.image import ImageArtifact
from runner.lifecycle.artifacts.lending import Lending
from runner.lifecycle.artifacts.notes import Notes
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.artifacts.uploading import Flawed, Uploader, say_nothing
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Request
from runner.sandboxes.base import Overlay
from runner.stores.base import Store, unasked

__all__ = ["METADATA", "Artifacts"]

#: What the artifacts of an experiment that states no disk need may hold.
_DEFAULT_BUDGET = Bytes(100 << 30)


def _ignore(label: str, stored: Stored) -> None:
    """Tell nobody."""


class Artifacts:
    """Between the stores and one workspace."""

    def __init__(
        self,
        request: Request,
        workspace: Workspace,
        store_for: Callable[[Artifact], Awaitable[Store]],
        *,
        default_budget: Bytes = _DEFAULT_BUDGET,
        at_once: int = 4,
        lending: Lending | None = None,
        permitted: Callable[[], None] = unasked,
    ) -> None:
        """``lending``: what changes by nobody comes through the cache.

        ``permitted`` is asked in a worker thread right before an object appears; it may raise.
        Raises BadField for a label that cannot be a directory of the workspace.
        """
        notes = Notes(workspace)
        self._workspace = workspace
        self._default_budget = default_budget
        #: An image is the sandbox's to fetch, never ours.
        self._image = request.artifacts.get(IMAGE)
        self._store_for = store_for
        self._artifacts = {
            label: artifact for label, artifact in request.artifacts.items() if label != IMAGE
        }
        for label in self._artifacts:
            workspace.directory(label)
        self._lending = lending
        self._fetcher = Fetcher(workspace, notes, store_for, at_once=at_once, lending=lending)
        self._uploader = Uploader(
            request, workspace, notes, store_for, at_once=at_once, permitted=permitted
        )

    @property
    def has_metadata(self) -> bool:
        """The experiment wants metadata to be kept."""
        return METADATA in self._artifacts and self._artifacts[METADATA].mutable

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what the objects stored last had to leave out (outward links, pipes)."""
        return tuple(self._uploader.warnings.values())

    @property
    def overlays(self) -> tuple[Overlay, ...]:
        """What was not put into the workspace: the run is to see it there all the same."""
        return self._lending.overlays if self._lending else ()

    @property
    def attached(self) -> Bytes:
        """What ``overlays`` show; it counts as if it lay in the workspace."""
        return self._lending.attached if self._lending else Bytes(0)

    @property
    def locks(self) -> tuple[Path, ...]:
        """Files whose lock keeps what ``overlays`` show."""
        return self._lending.locks if self._lending else ()

    def seen(self, label: str) -> Path:
        """Return where we find what the run will find in an artifact's directory."""
        return self._lending.seen(label) if self._lending else self._workspace.directory(label)

    def image(self) -> ImageArtifact:
        """Return the container image that an artifact is; only where there is one."""
        assert self._image is not None  # noqa: S101 - the request was looked at
        cache = self._lending.cache if self._lending else None
        return ImageArtifact(self._image, self._workspace, cache, self._store_for)

    async def give_back(self) -> None:
        """Let the cache remove what was fetched through it: no run needs it, or one has a lock."""
        if self._lending is not None:
            await self._lending.give_back()

    async def fetch(self, budget: Bytes) -> tuple[str, ...]:
        """Fetch all, at most ``budget`` bytes together (0: not stated), and make every directory.

        Returns sentences for the experiment's output about what was tolerated. Raises
        ArtifactMissing, ArtifactBad, OutOfDisk, HostFault, StoreUnavailable, each naming label and
        location.
        """
        wanted = [self._artifacts[label] for label in self._artifacts if label != METADATA]
        warnings = await self._fetcher.fetch(wanted, budget or self._default_budget)
        try:
            for label in self._artifacts:
                self._workspace.make(label)
        except OSError as error:
            raise host_fault("no directory for an artifact can be made", error) from error
        return warnings

    async def fetch_output(self) -> None:
        """Fetch what earlier attempts printed, where ``fetch`` did not come to it.

        Else the explanation of this attempt's failure would replace it. Raises as ``fetch`` does.
        """
        output = self._artifacts.get(OUTPUT)
        if output is not None and output.mutable and OUTPUT not in self._fetcher.done:
            await self._fetcher.fetch([output], self._default_budget)

    async def upload(
        self,
        labels: Collection[str] | None = None,
        *,
        final: bool,
        is_over: bool = False,
        on_stored: Callable[[str, Stored], None] = _ignore,
        on_flaws: Flawed = say_nothing,
    ) -> dict[str, Stored]:
        """Store what changed of the mutable artifacts (of ``labels``); return what, with sizes.

        ``retval`` only when ``final``, after all others are there; so never for a run that was
        stopped half way. ``is_over``: nothing of the experiment is at work any more,
        so what changed has another time; then ``on_flaws`` is told ``warnings``, where there are
        any, and the output is stored once more if it has a line about them. One that fails does
        not stop the others: all are named by the error at the end, whose kind says whether trying
        again is worth while (StoreUnavailable, OutOfDisk, HostFault) or not (ArtifactMissing for
        what is denied, ArtifactBad). ``retval`` is held back while it is. Called again, it stores
        only what is not stored yet.
        """
        chosen = [
            artifact
            for label, artifact in self._artifacts.items()
            if artifact.mutable and (labels is None or label in labels)
        ]
        return await self._uploader.upload(
            chosen, final=final, is_over=is_over, on_stored=on_stored, on_flaws=on_flaws
        )
