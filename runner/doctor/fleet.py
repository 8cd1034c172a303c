"""The fleet's store: reached as the daemon reaches it, and with consent written to.

A daemon only ever writes one object there, so what it may not read or remove is no fault.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio

from runner.app.fleet import options
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, aside
from runner.doctor.patient import Patient, nearest
from runner.doctor.stores import (
    NO_BUCKET,
    PATIENCE,
    REACH,
    TIDYING,
    is_behind_proxy,
    needing,
    reach,
)
from runner.errors import Misconfigured, RunnerError, StoreUnavailable
from runner.fleet.place import FOLDER, FleetPlace, place_of
from runner.stores.accounts import account_for
from runner.stores.base import AccessDenied, NotFound, Store, StoreOptions
from runner.stores.pool import StorePool

#: Always the same, and no beat's: where it may not be removed it is one object, and stays one.
_NAME = "_studio-runner-doctor.fleet"
_BODIES = (b'{"doctor": 1}', b'{"doctor": 2}')
_PAGE = "docs/permissions.md#the-fleets-store"


async def look(patient: Patient, tell: Tell) -> None:
    """Look at what --fleet-store names."""
    named = patient.settings.fleet_store
    if not named:
        tell(skipped("--fleet-store is not given: this runner tells no fleet how it stands"))
        return
    try:
        place = place_of(named)
        found = options(patient.settings, place)
    except Misconfigured:
        tell(skipped("the settings of stores cannot be used: see settings", about=named))
        return
    tell(await _Folder(patient, place, found).finding())


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where runners tell of themselves, and how it is opened."""

    patient: Patient
    place: FleetPlace
    options: StoreOptions

    async def finding(self) -> Finding:
        """Look; raises nothing that a store raises."""
        about = f"--fleet-store {self.place}"
        try:
            with anyio.fail_after(PATIENCE):
                # In a thread that is left behind: a network's directory may hang for ever.
                trouble = await aside(lambda: _of_directory(self.place.root))
                return trouble or await self._of_store(about)
        except TimeoutError:
            return failed(f"no answer within {PATIENCE:g} s", REACH, about)
        except StoreUnavailable as error:
            return failed(self.place.explained(error), REACH, about)
        except RunnerError as error:
            return failed(self.place.explained(error), _rights(self.place), about)

    async def _of_store(self, about: str) -> Finding:
        request = self.place.request(self.patient.environ)
        location = self.place.location(_NAME)
        account = account_for(location, request, self.options, queue_broker="local")
        if account.endpoint and not is_behind_proxy(self.patient):
            await reach(account.endpoint)
        async with StorePool(self.options) as pool:
            store = await pool.store_for(location, request, queue_broker="local")
            see = self._written if self.patient.may_write else self._read
            return await see(store, about)

    async def _read(self, store: Store, about: str) -> Finding:
        """Ask for what is not there."""
        try:
            await store.read(self.place.location(_NAME), lambda stream: stream.read())
        except NotFound as error:
            if NO_BUCKET.search(str(error)):
                return failed(str(error), "make the bucket, or correct its name", about)
        except AccessDenied as error:
            return warning(
                f"{self.place.explained(error)}; a daemon reads nothing there, so this may be as "
                "it should be",
                f"try with --write; {_rights(self.place)}",
                about,
            )
        return ok("it answers; --write also tries to write a tiny object", about)

    async def _written(self, store: Store, about: str) -> Finding:
        """Write as a daemon does, twice, and remove what was written. Raises RunnerError."""
        location = self.place.location(_NAME)
        with needing("write: s3:PutObject, storage.objects.create"):
            await store.write(location, _producing(_BODIES[0]))
        with needing("overwrite: s3:PutObject, storage.objects.delete"):
            await store.write(location, _producing(_BODIES[1]))
        try:
            with anyio.move_on_after(TIDYING, shield=True):
                await store.delete(location)
        except AccessDenied:
            kept = "which no daemon need, and may not be removed"
            return ok(f"written and overwritten; {location} stays: removing is {kept}", about)
        return ok("written, overwritten and removed", about)


def _producing(body: bytes) -> Callable[[BinaryIO], None]:
    def produce(stream: BinaryIO) -> None:
        stream.write(body)

    return produce


def _of_directory(root: Path | None) -> Finding | None:
    """Look at a directory; ``None``: the store is to be asked."""
    if root is None:
        return None
    about = f"--fleet-store file://{root}"
    if not root.is_dir():
        remedy = "mount it, or make it and let the daemon's user write to it"
        return failed(f"the directory {root} is not there", remedy, about)
    place = nearest(root / FOLDER)
    if not os.access(place, os.W_OK | os.X_OK):
        return failed(f"this user may not write to {place}", _rights(place_of(str(root))), about)
    return None


def _rights(place: FleetPlace) -> str:
    """Name the least that a daemon needs."""
    folder = place.folder
    match folder.scheme:
        case "s3":
            what = f"s3:PutObject on arn:aws:s3:::{folder.bucket}/{folder.key}/*"
        case "gs":
            what = f"storage.objects.create and storage.objects.delete on {folder.bucket}"
        case _:
            return f"let the user that the daemon runs as write to {place.root}"
    return f"allow {what} ({_PAGE})"
