"""The seam to object stores: whole objects by key, streams in worker threads, conditional writes.

Promises held by ``tests/contracts/stores.py`` for every backend:

* An object is whole or absent: a write that fails or is cancelled leaves what was there before.
* ``read`` and ``write`` give a stream to a function that runs in a worker thread; when the awaiting
  task is cancelled, the stream's next operation raises ``blocking.Interrupted`` and the call ends.
  The stream's ``check()`` does the same for work between two operations.
* What the function itself raises arrives unchanged; only the stream's own trouble is translated.
* ``put_if`` changes an object only when its version is still the given one; of several callers at
  once exactly one wins, the others get ``Conflict``.
* Every failure of the store is ``StoreUnavailable``; no SDK exception crosses the seam.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from runner.errors import RunnerError, StoreUnavailable
from runner.model import Bytes, Credentials, Location, Span

if TYPE_CHECKING:  # which knows this module
    from runner.stores.remote.retrying import Plan

T = TypeVar("T")

_SKIPPED = 1 << 20


class NotFound(RunnerError):
    """The object does not exist."""


class AccessDenied(RunnerError):
    """The store does not let these credentials at the object."""


class Conflict(RunnerError):
    """The object is no longer the version that the writer knew."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a store knows about the bytes of an object, to be compared with what arrives."""

    #: ``md5``, ``crc32c``, ``sha256``, or ``md5-parts``: S3's ETag of what came in parts.
    algorithm: str
    #: In hexadecimal; for ``md5-parts`` followed by ``-`` and the number of parts.
    digest: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store tells of an object without its bytes."""

    size: Bytes
    #: Changes whenever the content does (an ETag, a generation, inode and mtime).
    version: str
    #: ``None`` where the store gives none. Never part of the comparison: a store may tell more
    #: after a write than later.
    checksum: Checksum | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a folder."""

    location: Location
    size: Bytes
    #: When it was written, by the store's clock; seconds since the epoch.
    modified: float


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder."""

    entries: tuple[Entry, ...]
    #: What the store's clock showed as it answered; ``None``: it does not tell.
    now: float | None = None


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What the operator says about stores: each field but the last is the option of its name."""

    #: ``--local-store-root``: directories that ``file://`` objects may lie in.
    local_roots: tuple[Path, ...] = ()
    #: Also for messages that no local queue brought.
    allow_file_artifacts: bool = False
    #: S3 keys in ``config.env`` of the message, for artifacts without credentials of their own:
    #: what the sender wrote, and the experiment sees anyway.
    allow_env_secrets: bool = True
    #: The runner's own AWS keys or ambient Google identity, where the message brings none.
    allow_own_credentials: bool = False
    #: PEM file of the authorities, client certificate and its key.
    s3_ca: Path | None = None
    s3_cert: Path | None = None
    s3_key: Path | None = None
    #: Patterns of hosts (``*.lan``) that are spoken to in clear text although not loopback.
    s3_http_hosts: tuple[str, ...] = ()
    #: Key file for ``gs://`` artifacts of messages that no Pub/Sub queue brought.
    google_store_credentials: Path | None = None
    #: Patterns of hosts that ``http(s)://`` artifacts may name although their address is
    #: loopback, link-local or private.
    http_private_hosts: tuple[str, ...] = ()
    #: How patient calls over a network are; ``None``: as the backend has it.
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What one store is opened for. Equal accounts share a store."""

    #: Registry name: ``file``, ``s3`` (Amazon), ``minio`` (any other S3), ``gs``, ``http``.
    backend: str
    #: ``https://host:port``; empty where the backend knows it.
    endpoint: str = ""
    region: str = ""
    #: ``None``: the message brings none; all empty: anonymous access is asked for.
    credentials: Credentials | None = None
    #: A Google service account's key file.
    key_file: Path | None = None


def unasked() -> None:
    """Let every object appear."""


def overtaken(location: Location) -> StoreUnavailable:
    """Say why an object did not appear; who still may publish it finds it settled the next time."""
    return StoreUnavailable(f"{location} was replaced by somebody else while it was being stored")


class Store(AbstractAsyncContextManager["Store"], ABC):
    """Objects behind one set of credentials, opened and closed with ``async with``.

    ``Location`` is the address of one object; a store is given only locations of its scheme.
    Methods raise NotFound, AccessDenied, StoreUnavailable; a location outside what the operator
    allows is AccessDenied with the option that would allow it.
    """

    #: ``Account.endpoint``, where it says more than locations do: nothing that one endpoint told
    #: is taken for what another one would (``cache.base.Source``). Set by the pool.
    endpoint: str = ""

    @classmethod
    @abstractmethod
    def for_account(cls, account: Account, options: StoreOptions) -> Self:
        """Make the store of an account, not yet opened; the pool's way to every backend."""

    @abstractmethod
    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object."""

    @abstractmethod
    async def read(
        self,
        location: Location,
        consume: Callable[[BinaryIO], T],
        *,
        version: str | None = None,
    ) -> T:
        """Stream an object through ``consume`` in a worker thread and return its result.

        Where a ``version`` is given, the bytes are those of this version, or Conflict is raised,
        from here or through ``consume``.
        """

    async def slice(self, location: Location, span: Span, *, version: str) -> bytes:
        """Return bytes of this version of an object, which has all of them. Raises Conflict.

        A store that has no ranges reads what lies before them, too.
        """

        def consume(stream: BinaryIO) -> bytes:
            skipped = 0
            while data := stream.read(min(_SKIPPED, span.start - skipped)):
                skipped += len(data)
            return stream.read(span.length)

        return await self.read(location, consume, version=version)

    @abstractmethod
    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store what ``produce`` writes, visible all at once when it has returned.

        ``permitted`` is asked in the worker thread once nothing is left but to make it visible;
        what it raises is raised, and nothing appears. Nor does it where somebody else has replaced
        the object since before that question: a writer that was suspended behind the answer comes
        too late. That is StoreUnavailable, and is promised by stores that mind conditions.
        """

    @property
    def smallest_kept(self) -> Bytes | None:
        """The shortest range that ``patch`` can keep; ``None``: it can keep none."""
        return None

    async def patch(
        self,
        location: Location,
        version: str,
        kept: Sequence[Span],
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Replace an object by ranges of it and, behind them, what ``produce`` writes.

        The ranges are neither read nor sent. Raises Conflict when the object has not ``version``
        any more, or the store will not do it: then write the whole. ``permitted`` as in ``write``.
        """
        del version, kept, produce, permitted
        raise Conflict(f"{location}: no range of it can be kept")

    @abstractmethod
    async def put_if(
        self, location: Location, body: bytes, version: str | None, *, durable: bool = True
    ) -> ObjectInfo:
        """Store ``body`` if the object's version is ``version``; ``None``: if there is none.

        What is not ``durable`` may be lost, or torn, by a power cut of the store's machine: good
        enough for a beat, which the next one replaces. Remote stores make no difference.
        """

    @abstractmethod
    async def delete(self, location: Location) -> None:
        """Remove an object; one that is not there is no error."""

    async def folder(self, location: Location) -> Listing:
        """List the objects directly below a folder, in any order; one that is not there is empty.

        Their keys are the folder's, a slash, and a name without one. Raises AccessDenied also
        where a store has no lists.
        """
        raise AccessDenied(f"{location} is in a store that has no lists of its objects")
