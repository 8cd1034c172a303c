"""Every store that the settings know or that is named: reached, and with consent written to.

Only ``--write`` puts an object there, of a name that is the doctor's own, and takes it away again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from runner.app.stores import store_options
from runner.doctor.check import Finding, failed, ok, skipped, warning
from runner.doctor.examination import Tell, tell_all
from runner.doctor.patient import Patient, nearest
from runner.environments.sources import NETWORK
from runner.errors import Misconfigured, RequestError, RunnerError, StoreUnavailable
from runner.model import Experiment, Location, Needs, Request, StoreConfig
from runner.stores.base import AccessDenied, Conflict, NotFound, Store, StoreOptions
from runner.stores.pool import StorePool

_PERMISSIONS = "docs/permissions.md lists what is done to a bucket, and the rights for it"
_BODY, _OTHER = b'{"doctor": 1}', b'{"doctor": 2}'
REACH = "check the address, the network, the firewall and the proxy between here and there"
#: Seconds; stores themselves are asked again and again, for longer than a person waits.
PATIENCE, TIDYING, _CONNECTING = 30.0, 10.0, 5.0
_PROXIES = tuple(name for name in NETWORK if name.upper() in {"HTTPS_PROXY", "ALL_PROXY"})
#: What stores say of an object whose bucket is not there.
NO_BUCKET = re.compile(r"no such bucket|the bucket '.*' of .* does not exist")


async def look(patient: Patient, tell: Tell) -> None:
    """Look at local stores, at the operator's key for Google, and at each bucket named."""
    try:
        options = store_options(patient.settings)
    except Misconfigured:
        tell(skipped("the settings of stores cannot be used: see settings"))
        return
    await tell_all(lambda: _without_bucket(patient, options), tell)
    async with StorePool(options) as pool, anyio.create_task_group() as group:
        for target in _targets(patient):
            group.start_soon(target.look, pool, tell)


def is_behind_proxy(patient: Patient) -> bool:
    """Tell whether stores may be reached through a proxy alone."""
    return any(name in patient.environ for name in _PROXIES)


def _targets(patient: Patient) -> Iterator[_Target]:
    for root in patient.settings.local_store_root:
        location = Location("file", "", "", str(root / _name()))
        about = f"--local-store-root {root}"
        yield _Target(about, location, StoreConfig(), patient.may_write, root)
    for bucket in patient.buckets:
        location = Location(bucket.scheme, bucket.host, bucket.bucket, _name())
        yield _Target(
            bucket.name,
            location,
            bucket.config,
            patient.may_write,
            is_behind_proxy=is_behind_proxy(patient),
        )


@dataclass(frozen=True, slots=True)
class _Target:
    """One store, and a key of ours in it."""

    about: str
    location: Location
    config: StoreConfig
    may_write: bool
    #: Of a local one.
    root: Path | None = None
    is_behind_proxy: bool = False

    async def look(self, pool: StorePool, tell: Tell) -> None:
        """Tell one finding; raises nothing that a store raises."""
        try:
            with anyio.fail_after(PATIENCE):
                tell(self._of_root() or await self._of_store(pool))
        except TimeoutError:
            tell(failed(f"no answer within {PATIENCE:g} s", REACH, self.about))
        except RequestError as error:
            tell(failed(str(error), "correct --store", self.about))
        except RunnerError as error:
            is_away = isinstance(error, StoreUnavailable)
            tell(failed(str(error), REACH if is_away else _PERMISSIONS, self.about))

    def _of_root(self) -> Finding | None:
        """Look at a directory; ``None``: the store is to be asked."""
        if self.root is None:
            return None
        there = nearest(self.root)
        if not os.access(there, os.W_OK | os.X_OK):
            doing = "write to" if there == self.root else "make it in"
            remedy = "run the doctor as the daemon's user, or name another --local-store-root"
            return failed(f"this user may not {doing} {there}", remedy, self.about)
        if there != self.root:
            return ok("it is not there yet; submit makes it", self.about)
        return None if self.may_write else ok("this user may write to it", self.about)

    async def _of_store(self, pool: StorePool) -> Finding:
        if self.config.endpoint and not self.is_behind_proxy:
            await reach(self.config.endpoint)
        request = Request(Experiment("doctor", "doctor"), Needs(), {}, storage=self.config)
        store = await pool.store_for(self.location, request, queue_broker="local")
        return await self._write(store) if self.may_write else await self._read(store)

    async def _read(self, store: Store) -> Finding:
        """Ask for what is not there."""
        try:
            await store.read(self.location, lambda stream: stream.read())
        except NotFound as error:
            if NO_BUCKET.search(str(error)):
                return failed(str(error), "make the bucket, or correct its name", self.about)
        except AccessDenied as error:
            return warning(
                f"{error}; a store says so too of what is not there, where listing is denied",
                f"allow listing, or try with --write; {_PERMISSIONS}",
                self.about,
            )
        return ok(
            "it answers; --write also tries to write, read and delete a tiny object", self.about
        )

    async def _write(self, store: Store) -> Finding:
        """Write, write on condition, read, and delete a tiny object. Raises RunnerError."""
        with needing("write: s3:PutObject, storage.objects.create"):
            info = await store.put_if(self.location, _BODY, None)
        try:
            refuses = await self._refuses_a_second(store)
            if refuses:
                with needing("overwrite: s3:PutObject, storage.objects.delete"):
                    await store.put_if(self.location, _OTHER, info.version)
            with needing("read: s3:GetObject, storage.objects.get"):
                found = await store.read(self.location, lambda stream: stream.read())
        finally:
            with anyio.move_on_after(TIDYING, shield=True), needing("delete: s3:DeleteObject"):
                await store.delete(self.location)
        if found != _OTHER:
            return failed(
                "what is read is not what was written",
                "use a store that gives back what was last written",
                self.about,
            )
        if not refuses:
            return warning(
                "it writes although the condition does not hold: of two runners that claim the "
                "same experiment both may run it",
                "use a store that honours If-None-Match",
                self.about,
            )
        return ok("written, refused to a second writer, overwritten, read and deleted", self.about)

    async def _refuses_a_second(self, store: Store) -> bool:
        try:
            await store.put_if(self.location, _OTHER, None)
        except Conflict:
            return True
        return False


async def reach(endpoint: str) -> None:
    """Connect, to hear at once of what a store would be asked for again and again.

    Raises StoreUnavailable.
    """
    split = urlsplit(endpoint)
    port = split.port or (443 if split.scheme == "https" else 80)
    try:
        with anyio.fail_after(_CONNECTING):
            await (await anyio.connect_tcp(split.hostname or "", port)).aclose()
    except TimeoutError:
        why = f"no answer within {_CONNECTING:g} s"
    except OSError as error:
        why = str(error.__cause__ or error)
    else:
        return
    raise StoreUnavailable(f"{split.netloc} cannot be reached: {why}")


@contextmanager
def needing(what: str) -> Iterator[None]:
    """Name the right in what a store refuses."""
    try:
        yield
    except AccessDenied as error:
        raise AccessDenied(f"may not {what} ({error})") from error


def _without_bucket(patient: Patient, options: StoreOptions) -> Iterator[Finding]:
    """Say of the runner's own keys that a bucket is needed to try them."""
    named = {bucket.scheme for bucket in patient.buckets}
    why = "what it opens can only be tried with a bucket"
    key = options.google_store_credentials
    if key is not None:
        about = f"--google-store-credentials {key}"
        if not _is_key(key):
            yield failed("it is no key of Google's", "make one anew and put it there", about)
        elif "gs" not in named:
            yield skipped(why, "name one: --store gs://BUCKET", about)
    if options.allow_own_credentials and "s3" not in named:
        yield skipped(why, "name one: --store s3:///BUCKET", "--allow-own-credentials")


def _is_key(file: Path) -> bool:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "type" in found


def _name() -> str:
    return f"_studio-runner-doctor.{secrets.token_hex(8)}"
