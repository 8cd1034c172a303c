"""A store of the pool as its users hold it: closing is the pool's business, when none is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from runner.model import Bytes, Location, Span
from runner.stores.base import Account, Listing, ObjectInfo, Store, StoreOptions, unasked

T = TypeVar("T")


class LentStore(Store):
    """Passes everything on; the pool sees by a weak reference when the last user lets go of it.

    A running method holds it, too.
    """

    def __init__(self, store: Store, endpoint: str) -> None:
        self._store = store
        self.endpoint = endpoint

    @classmethod
    def for_account(cls, account: Account, options: StoreOptions) -> Self:
        """Refuse: only the pool lends."""
        del account, options
        raise TypeError("a lent store comes from StorePool.store_for")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it open for the others."""

    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        return await self._store.stat(location)

    async def read(
        self,
        location: Location,
        consume: Callable[[BinaryIO], T],
        *,
        version: str | None = None,
    ) -> T:
        """Stream an object through ``consume``."""
        return await self._store.read(location, consume, version=version)

    async def slice(self, location: Location, span: Span, *, version: str) -> bytes:
        """Return bytes of an object."""
        return await self._store.slice(location, span, version=version)

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store what ``produce`` writes."""
        return await self._store.write(location, produce, permitted=permitted)

    @property
    def smallest_kept(self) -> Bytes | None:
        """Return the shortest range that ``patch`` can keep."""
        return self._store.smallest_kept

    async def patch(
        self,
        location: Location,
        version: str,
        kept: Sequence[Span],
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Replace an object by ranges of it and what ``produce`` writes."""
        return await self._store.patch(location, version, kept, produce, permitted=permitted)

    async def put_if(
        self, location: Location, body: bytes, version: str | None, *, durable: bool = True
    ) -> ObjectInfo:
        """Store ``body`` if the object's version is ``version``."""
        return await self._store.put_if(location, body, version, durable=durable)

    async def delete(self, location: Location) -> None:
        """Remove an object."""
        await self._store.delete(location)

    async def folder(self, location: Location) -> Listing:
        """List the objects directly below a folder."""
        return await self._store.folder(location)
