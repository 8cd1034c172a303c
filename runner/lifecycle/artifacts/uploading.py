"""Stores what changed of an attempt's mutable artifacts, each object whole, ``retval`` last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio

from runner import blocking, log
from runner.archives.mapped import Mapped, nothing_at_work, written_through_maps
from runner.archives.signature import signature
from runner.errors import (
    ArtifactBad,
    ArtifactMissing,
    HostFault,
    OutOfDisk,
    RunnerError,
    StoreUnavailable,
    Unavailable,
    host_fault,
)
from runner.lifecycle.artifacts.forms import (
    METADATA,
    OUTPUT,
    RETVAL,
    Form,
    form_of,
    metadata_location,
    plain,
)
from runner.lifecycle.artifacts.notes import Note, Notes
from runner.lifecycle.artifacts.storing import Archive, Stored, Storing
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Location, Request
from runner.stores.base import AccessDenied, NotFound, Store, unasked

_log = log.get_logger(__name__)

_LIMIT = blocking.Limit(4)
#: What is smaller is stored again by the next daemon sooner than a note of it is worth writing.
_SOON_SENT = 1 << 20

Told = Callable[[str, Stored], None]
Flawed = Callable[[tuple[str, ...]], bool]
"""Told what the stored objects lack; whether it has written something into the output."""


def say_nothing(flaws: tuple[str, ...]) -> bool:
    """Write nothing."""
    del flaws
    return False


@dataclass(frozen=True, slots=True)
class _Upload:
    """One object that may have to be stored."""

    artifact: Artifact
    location: Location
    #: Its name among the notes.
    note: str
    path: Path


class _Pass:
    """Every upload is tried; what was stored and what failed is collected."""

    def __init__(
        self, store: Callable[[_Upload], Awaitable[Stored | None]], on_stored: Told
    ) -> None:
        self.stored: dict[str, Stored] = {}
        self.failures: dict[str, RunnerError] = {}
        self._store = store
        self._on_stored = on_stored

    @property
    def is_worth_another(self) -> bool:
        """Something failed that the next try may find mended."""
        return any(isinstance(error, Unavailable | HostFault) for error in self.failures.values())

    async def side_by_side(self, uploads: Iterable[_Upload], at_once: int) -> None:
        room = anyio.Semaphore(at_once)

        async def run(upload: _Upload) -> None:
            async with room:
                await self.run(upload)

        async with anyio.create_task_group() as group:
            for upload in uploads:
                group.start_soon(run, upload)

    async def those_of(self, label: str, uploads: Iterable[_Upload]) -> None:
        for upload in uploads:
            if upload.artifact.label == label:
                await self.run(upload)

    async def run(self, upload: _Upload) -> None:
        try:
            stored = await self._store(upload)
        except RunnerError as error:
            self.failures[upload.note] = error
        except PermissionError as error:  # the experiment's own doing: it would be so anywhere
            self.failures[upload.note] = ArtifactBad(
                f"the experiment has left it so that it cannot be read: {error}"
            )
        except OSError as error:
            self.failures[upload.note] = host_fault("it cannot be read", error)
        else:
            if stored is not None:
                label = upload.artifact.label
                before = self.stored.get(label)
                self.stored[label] = before + stored if before else stored
                self._on_stored(label, stored)


class Uploader:
    """Uploads for one attempt; remembers in the notes what is stored already."""

    def __init__(
        self,
        request: Request,
        workspace: Workspace,
        notes: Notes,
        store_for: Callable[[Artifact], Awaitable[Store]],
        *,
        at_once: int,
        permitted: Callable[[], None] = unasked,
    ) -> None:
        """``permitted`` as ``Storing`` has it."""
        self._request = request
        self._workspace = workspace
        self._notes = notes
        self._store_for = store_for
        self._at_once = at_once
        self._storing = Storing(workspace, permitted)
        #: By label: what the object that was stored last does not hold.
        self.warnings: dict[str, str] = {}

    async def upload(
        self,
        artifacts: Iterable[Artifact],
        *,
        final: bool,
        is_over: bool,
        on_stored: Told,
        on_flaws: Flawed,
    ) -> dict[str, Stored]:
        """Store what changed; see ``Artifacts.upload``."""
        mapped = nothing_at_work if is_over else written_through_maps
        uploads = await blocking.call(lambda _: self._uploads(artifacts), limit=_LIMIT)
        one_pass = _Pass(lambda upload: self._store(upload, mapped), on_stored)
        try:
            await one_pass.side_by_side(
                (upload for upload in uploads if upload.artifact.label != RETVAL), self._at_once
            )
            if is_over and self.warnings and on_flaws(tuple(self.warnings.values())):
                await one_pass.those_of(OUTPUT, uploads)
            # Clients take the appearance of retval for the whole result.
            if final and not one_pass.is_worth_another:
                await one_pass.those_of(RETVAL, uploads)
        finally:
            if not is_over:  # else all is settled soon, and what is small is sent again as soon
                self._notes.settle()
        if one_pass.failures:
            raise _grouped(one_pass.failures)
        return one_pass.stored

    def _uploads(self, artifacts: Iterable[Artifact]) -> list[_Upload]:
        """Return what to look at, ``output`` first: it is what people wait for."""
        uploads = []
        for artifact in sorted(artifacts, key=lambda one: (one.label != OUTPUT, one.label)):
            directory = self._workspace.directory(artifact.label)
            if artifact.label == METADATA:
                uploads += self._metadata(artifact, directory)
            elif not self._has_nothing(artifact.label, directory):
                uploads.append(_Upload(artifact, artifact.location, artifact.label, directory))
        return uploads

    def _has_nothing(self, label: str, directory: Path) -> bool:
        """Tell whether there is nothing to be stored, nor was: so it is of most artifacts.

        What cannot be told now is looked at again, where it costs the others nothing.
        """
        try:
            if directory.is_symlink():
                return False
            if not directory.is_dir():
                return not directory.exists()
            return not self._notes.of(label).had_content and not any(directory.iterdir())
        except OSError:
            return False

    def _metadata(self, artifact: Artifact, directory: Path) -> list[_Upload]:
        try:
            if directory.is_symlink() or not directory.is_dir():
                return []
            paths = sorted(directory.iterdir())
        except OSError as error:  # results are worth more than what is said about them
            _log.warning("metadata cannot be read", trouble=str(error))
            return []
        return [
            _Upload(
                artifact,
                metadata_location(artifact, self._request.storage, path.name),
                f"{METADATA}/{path.name}",
                path,
            )
            for path in paths
            if path.is_file() and not path.is_symlink()
        ]

    async def _store(self, upload: _Upload, mapped: Mapped) -> Stored | None:
        """Store one object; ``None`` when the store has it already, or there is nothing in it."""
        found = await blocking.call(lambda stop: self._look(upload, mapped, stop), limit=_LIMIT)
        if found is None:
            return None
        note, form = found
        store = await self._store_for(upload.artifact)
        archive = Archive(upload.note, upload.location, form.directory, form.pack, mapped)
        stored, packed = await self._storing.store(store, archive)
        self._notes.keep(upload.note, note, later=stored.sent < _SOON_SENT)
        self._warn(upload.note, packed.left_out)
        return stored

    def _warn(self, label: str, left_out: list[tuple[str, str]]) -> None:
        self.warnings.pop(label, None)
        if left_out:
            name, why = left_out[0]
            more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            self.warnings[label] = f"artifact {label!r} lacks {name!r} ({why}){more}"

    def _look(
        self, upload: _Upload, mapped: Mapped, stop: blocking.Stop
    ) -> tuple[Note, Form] | None:
        """Decide; the note is taken first, so that what changes meanwhile is stored next time."""
        known = self._notes.of(upload.note)
        if upload.artifact.label == METADATA:
            state = upload.path.stat()
            seen = f"{state.st_size}-{state.st_mtime_ns}-{state.st_ino}"
            return None if seen == known.signature else (Note(seen), plain(upload.path))
        if upload.path.is_symlink() or not upload.path.is_dir():
            raise ArtifactBad("its directory was replaced by something else")
        seen = signature(upload.path, check=stop.check, mapped=mapped)
        is_empty = not any(upload.path.iterdir())
        if seen == known.signature or (is_empty and not known.had_content):
            return None
        note = Note(seen, single=known.single, had_content=not is_empty)
        return note, form_of(upload.artifact, upload.path, known)


def _grouped(failures: dict[str, RunnerError]) -> RunnerError:
    """Return one error that names all; its kind is that of the one most worth another try."""
    kinds = {
        Unavailable: StoreUnavailable,
        OutOfDisk: OutOfDisk,
        HostFault: HostFault,
        AccessDenied: ArtifactMissing,
        NotFound: ArtifactMissing,
        RunnerError: ArtifactBad,
    }
    errors = list(failures.values())
    kind = next(known for known in kinds if any(isinstance(error, known) for error in errors))
    named = "; ".join(f"artifact {label!r}: {error}" for label, error in sorted(failures.items()))
    return kinds[kind](f"not stored: {named}")
