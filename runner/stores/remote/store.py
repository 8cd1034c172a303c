"""The Store of every remote backend: its client's calls in threads, repeated, cut when stopped."""

from __future__ import annotations

import io
import threading
from abc import abstractmethod
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, TypeVar, cast

import anyio

from runner.blocking import Limit, Stop, call
from runner.errors import StoreUnavailable
from runner.model import Location, Span
from runner.stores.base import (
    AccessDenied,
    Account,
    Conflict,
    Entry,
    Listing,
    NotFound,
    ObjectInfo,
    Store,
    StoreOptions,
    unasked,
)
from runner.stores.remote.client import Client
from runner.stores.remote.download import Download
from runner.stores.remote.leftovers import Leftovers
from runner.stores.remote.ranges import Range, Source
from runner.stores.remote.retrying import Attempts, Plan
from runner.stores.remote.upload import Upload
from runner.stores.streams import GuardedStream

T = TypeVar("T")

#: For consumers that read in small pieces.
_BUFFER = 256 << 10


class RemoteStore(Store):
    """One account of an object store. A backend supplies ``make_client``."""

    #: How patient all calls are, where the options do not say.
    plan: ClassVar[Plan] = Plan()

    def __init__(self, account: Account, options: StoreOptions) -> None:
        self.account = account
        self.options = options
        # Claim records must not wait behind uploads.
        self._transfers = Limit(8)
        self._records = Limit(8)
        self._client = _Lazy(lambda: self.make_client(account, options))
        self._public_client = _Lazy(lambda: self.make_public_client(account, options))
        self._public_buckets: set[str] = set()
        self._leftovers = Leftovers()

    @property
    def patience(self) -> Plan:
        """How patient its calls are."""
        return self.options.plan or self.plan

    @classmethod
    def for_account(cls, account: Account, options: StoreOptions) -> Self:
        """Make the store; its client is made when it is first needed."""
        return cls(account, options)

    @abstractmethod
    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Make the client, in a worker thread; called once. Raises RunnerErrors."""

    def make_public_client(self, account: Account, options: StoreOptions) -> Client | None:
        """Make a client without keys, for objects that the keys are denied: public ones.

        ``None``: the account is not to be mixed with anonymous access, or is anonymous already.
        """
        del account, options
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections; what an upload left behind is forgotten by the store before."""

        def close(stop: Stop) -> None:
            client = self._client.made
            if client is not None:
                self._leftovers.remove(client, stop)
            for lazy in (self._client, self._public_client):
                if lazy.made is not None:
                    lazy.made.close()

        with anyio.CancelScope(shield=True):
            await call(close, limit=self._records)

    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object."""

        def run(stop: Stop) -> ObjectInfo:
            attempts = Attempts(stop, self.patience)
            return self._read(location, lambda client: attempts.run(lambda: client.head(location)))

        return await call(run, limit=self._records)

    async def read(
        self,
        location: Location,
        consume: Callable[[BinaryIO], T],
        *,
        version: str | None = None,
    ) -> T:
        """Stream an object; its last bytes come when its checksum is right."""

        def run(stop: Stop) -> T:
            def opened(client: Client) -> Download:
                return Download(client, location, stop, self.patience, only=version)

            with closing(io.BufferedReader(self._read(location, opened), _BUFFER)) as bytes_:
                return consume(_guarded(cast("BinaryIO", bytes_), stop))

        return await call(run, limit=self._transfers)

    async def slice(self, location: Location, span: Span, *, version: str) -> bytes:
        """Return bytes of an object by one request; no checksum of the store's is of a part."""

        def run(stop: Stop) -> bytes:
            def fetched(client: Client) -> bytes:
                source = Source(client, location, Attempts(stop, self.patience))
                found = Range(source, start=span.start, length=span.length).of(version)
                data, place = bytearray(span.length), 0
                with closing(found):
                    while count := found.readinto(memoryview(data)[place:]):
                        place += count
                return bytes(data)

            return self._read(location, fetched)

        return await call(run, limit=self._transfers)

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store what ``produce`` writes; until it returned, the store has parts at most."""

        def run(stop: Stop) -> ObjectInfo:
            client = self._client.get()
            self._leftovers.remove(client, stop)
            with closing(
                Upload(
                    client,
                    location,
                    stop,
                    self.patience,
                    left_behind=self._leftovers.add,
                    permitted=permitted,
                )
            ) as upload:
                produce(_guarded(cast("BinaryIO", upload), stop))
                return upload.commit()

        return await call(run, limit=self._transfers)

    async def put_if(
        self, location: Location, body: bytes, version: str | None, *, durable: bool = True
    ) -> ObjectInfo:
        """Store ``body`` if the object's version is ``version``; ``None``: if there is none."""
        del durable  # the store's own business
        return await call(
            lambda stop: self._put_if(location, body, version, stop), limit=self._records
        )

    async def delete(self, location: Location) -> None:
        """Remove an object."""

        def run(stop: Stop) -> None:
            client = self._client.get()
            Attempts(stop, self.patience).run(lambda: client.delete(location))

        await call(run, limit=self._records)

    async def folder(self, location: Location) -> Listing:
        """List the objects of a folder, page by page."""

        def run(stop: Stop) -> Listing:
            client, attempts = self._client.get(), Attempts(stop, self.patience)
            entries: list[Entry] = []
            after = ""
            while True:
                page = attempts.run(partial(client.page, location, after))
                entries += page.entries
                after = page.next
                if not after:
                    return Listing(tuple(entries), page.now)

        return await call(run, limit=self._records)

    def _read(self, location: Location, act: Callable[[Client], T]) -> T:
        """Act with the keys; without them where they are denied a public bucket."""
        if location.bucket in self._public_buckets:
            with suppress(AccessDenied):  # in a bucket of both kinds, this object is not public
                return act(self._public_client.get())
        try:
            return act(self._client.get())
        except AccessDenied as denied:
            public = self._public_client.get_or_none()
            if public is None:
                raise
            try:
                result = act(public)
            except AccessDenied:
                raise denied from None
            self._public_buckets.add(location.bucket)
            return result

    def _put_if(
        self, location: Location, body: bytes, version: str | None, stop: Stop
    ) -> ObjectInfo:
        client, attempts = self._client.get(), Attempts(stop, self.patience)
        unsure = False

        def put() -> ObjectInfo:
            nonlocal unsure
            try:
                return client.put(location, body, only_if=version, absent=version is None)
            except StoreUnavailable:
                unsure = True
                raise

        try:
            return attempts.run(put)
        except Conflict as conflict:
            # The first try may have won, and its answer was lost.
            if unsure and (info := self._stored(client, location, body, stop)) is not None:
                return info
            state = "exists already" if version is None else "is not the version known any more"
            raise Conflict(f"{location} {state}") from conflict

    def _stored(
        self, client: Client, location: Location, body: bytes, stop: Stop
    ) -> ObjectInfo | None:
        """Describe the object if it is ``body``."""
        try:
            info = Attempts(stop, self.patience).run(lambda: client.head(location))
            if info.size != len(body):
                return None
            with closing(Download(client, location, stop, self.patience)) as download:
                return info if download.readall() == body else None
        except NotFound:
            return None


class _Lazy:
    """A client made by the first thread that needs it."""

    def __init__(self, make: Callable[[], Client | None]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._is_made = False
        self.made: Client | None = None

    def get_or_none(self) -> Client | None:
        with self._lock:
            if not self._is_made:
                self.made = self._make()
                self._is_made = True
            return self.made

    def get(self) -> Client:
        client = self.get_or_none()
        if client is None:
            raise AccessDenied("no anonymous access is set up")
        return client


def _guarded(inner: BinaryIO, stop: Stop) -> BinaryIO:
    return cast("BinaryIO", GuardedStream(inner, stop, nullcontext))
