"""The inner seam of remote stores: the blocking calls of one SDK, which the engine puts together.

A client makes each call once, with explicit timeouts for connecting and reading, and with the SDK's
own retries off: the engine repeats, in ``retrying``. It is used from many threads at once. Foreign
exceptions become, through the client's one table:

* ``NotFound``: no such object, no such bucket (named);
* ``AccessDenied``: wrong or expired keys, no right to the object, a request that will not be
  understood at the next try either (a wrong region, say), each with its remedy;
* ``Conflict``: a condition that does not hold, an object no longer of the version asked for;
* ``StoreUnavailable``: all that may be mended later: no answer, reset, 5xx, throttling, a body that
  ends early, a certificate that is not trusted (with the option that trusts it).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from runner.model import Location
from runner.stores.base import ObjectInfo

Data = bytes | bytearray | memoryview


class Body(Protocol):
    """The bytes of one answer as they arrive."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there, 0 only at the end. Raises StoreUnavailable."""

    def close(self) -> None:
        """Give the connection back, or end it where bytes are left."""

    def abort(self) -> None:
        """End the connection now, from another thread: a waiting ``readinto`` raises."""


class Client(ABC):
    """One account of one object store."""

    #: Parts but the last are at least as large; S3 says 5 MiB.
    smallest_part: int = 5 << 20
    #: An upload has at most as many parts; S3 says 10,000.
    most_parts: int = 10_000
    #: Parts may be sent side by side and in any order.
    parts_in_any_order: bool = True

    @abstractmethod
    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""

    @abstractmethod
    def get(self, location: Location, *, start: int, length: int | None, version: str) -> Body:
        """Open a range of an object of this version; ``None``: to its end. Raises Conflict."""

    @abstractmethod
    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store a whole object: over anything, over version ``only_if``, or where none is."""

    @abstractmethod
    def delete(self, location: Location) -> None:
        """Remove an object; one that is not there is no error."""

    @abstractmethod
    def begin(self, location: Location) -> str:
        """Begin an upload in parts; return its id."""

    @abstractmethod
    def put_part(self, location: Location, upload: str, number: int, body: Data) -> str:
        """Store part ``number``, from 1; return its tag. A part may be stored again."""

    @abstractmethod
    def complete(self, location: Location, upload: str, tags: Sequence[str]) -> ObjectInfo:
        """Make the object of its parts, visible all at once."""

    @abstractmethod
    def abort(self, location: Location, upload: str) -> None:
        """Forget an upload and its parts; one that is not there is no error."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
