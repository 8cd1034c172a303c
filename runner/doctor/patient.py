"""What is examined: the settings, and what the daemon would make of them without making it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from runner import blocking
from runner.app import places, scratch
from runner.app.credentials import credential_sources
from runner.app.masking import mask, redactor_of
from runner.app.places import Places
from runner.doctor.examination import aside
from runner.errors import Misconfigured
from runner.lifecycle.runs.workspace import unreachable
from runner.model import Identity, StoreConfig
from runner.queues.credential import Credential
from runner.queues.credentials import found_now
from runner.queues.credentials.finder import Finder
from runner.redaction import Redactor
from runner.settings import Settings

#: Files of the file system, processes: what blocks, and ends soon.
LIMIT = blocking.Limit(8)
#: Seconds for looking for credentials.
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place of objects that somebody wants looked at."""

    #: As it was named.
    name: str
    #: ``s3`` or ``gs``.
    scheme: str
    host: str
    bucket: str
    config: StoreConfig


@dataclass(frozen=True, slots=True)
class Patient:
    """Everything that the subjects look at."""

    settings: Settings
    environ: Mapping[str, str]
    places: Places
    redactor: Redactor
    #: ``None``: looking for credentials failed, ``troubles`` says why.
    found: Finder | None
    #: What keeps a daemon of these settings from starting.
    troubles: tuple[str, ...] = ()
    #: Tiny objects may be written, and news sent.
    may_write: bool = False
    buckets: tuple[Bucket, ...] = field(default=())

    @property
    def identity(self) -> Identity | None:
        """Whom experiments run as; ``None``: this user, or nobody else can be had here."""
        return self.places.identity if os.geteuid() == 0 else None

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """What opens queues."""
        return self.found.chosen.credentials if self.found else ()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a directory on the working directory's disk where that can be had.

        Experiments may pass through it, and see nothing in it. Not where temporary files lie: from
        there nothing can be started on a hardened machine.
        """
        place = nearest(self.settings.working_dir)
        usable = os.access(place, os.W_OK | os.X_OK)
        if usable and self.identity is not None:
            # The daemon opens its own for them with the first experiment; that is not for us.
            usable = unreachable(place.resolve(), self.identity) is None
        if not usable:
            place = Path(tempfile.gettempdir())
        scratch.sweep(place)
        with scratch.held(place) as found:
            yield found


async def admitted(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    may_write: bool = False,
    buckets: tuple[Bucket, ...] = (),
) -> Patient:
    """Look for credentials once, and for whom experiments run as."""
    redactor, troubles = redactor_of(settings, environ), []
    for bucket in buckets:
        if bucket.config.credentials is not None:
            redactor.add(bucket.config.credentials.secret_key)
            redactor.add(bucket.config.credentials.session_token)
    found: Finder | None = None
    try:
        with anyio.fail_after(_PATIENCE):
            found = await aside(lambda: found_now(credential_sources(settings, environ), environ))
        redactor.add(*found.secrets)
        for credential in found.chosen.credentials:
            mask(redactor, credential)
    except Misconfigured as error:
        troubles.append(str(error))
    except TimeoutError:
        troubles.append(
            f"--certs-dir {settings.certs_dir} is not read within {_PATIENCE:g} s: see whether the "
            "file system answers that it lies on"
        )
    try:
        planned = places.planned(settings)
    except Misconfigured as error:
        troubles.append(str(error))
        planned = Places(settings.state_dir, "doctor", None, "root")
    return Patient(settings, environ, planned, redactor, found, tuple(troubles), may_write, buckets)


def nearest(path: Path) -> Path:
    """Return the directory itself, or the nearest one above it that is there."""
    return next((one for one in (path, *path.parents) if _is_folder(one)), Path("/"))


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where we may not look
