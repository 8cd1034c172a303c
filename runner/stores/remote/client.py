"""The inner seam of remote stores: the blocking calls of one SDK, which the engine puts together.

A client makes each call once, with explicit timeouts for connecting and reading, and with the SDK's
own retries off: the engine repeats, in ``retrying``. It is used from many threads at once, and
every call ends within its timeouts. Its connections are those of ``wires.pool``, which the engine
can cut from another thread. Foreign exceptions become, through the client's one table:

* ``NotFound``: no such object, no such bucket (named), no such upload;
* ``AccessDenied``: wrong or expired keys, no right to the object, a request that will not be
  understood at the next try either (a wrong region, say), each with its remedy;
* ``Conflict``: a condition that does not hold, an object no longer of the version asked for;
* ``StoreUnavailable``: all that may be mended later: no answer, reset, 5xx, a digest of what was
  sent that the store found wrong, a body that ends early. Its kinds: ``Busy`` where the store says
  when to come back, ``Absent`` where nobody is to be met, ``Lasting`` where the next minutes will
  mend nothing, ``NotDone`` where nothing ever will.

What is sent is verified by the store: ``Content-MD5``, or what the SDK does instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.errors import StoreUnavailable
from runner.model import Location, Span
from runner.stores.base import AccessDenied, Conflict, Entry, ObjectInfo

Data = bytes | bytearray | memoryview


class Busy(StoreUnavailable):
    """The store asks for a pause."""

    def __init__(self, detail: str = "", after: float = 0.0) -> None:
        """Say ``detail``; the store is to be left alone for ``after`` seconds."""
        super().__init__(detail)
        self.after = after


class Absent(StoreUnavailable):
    """Nobody is there: the host's name is unknown, or nothing listens at its port."""


class Lasting(StoreUnavailable):
    """Nobody mends it within minutes: a certificate that is not trusted, with the option."""


class NotDone(Lasting):
    """The store knows no such request, or no such condition of it."""


class Body(Protocol):
    """The bytes of one answer as they arrive, read in the thread that opened it."""

    @property
    def info(self) -> ObjectInfo:
        """The whole object, as the answer tells it; a size of -1: the server does not know."""

    @property
    def end(self) -> int:
        """Where in the object the body ends: beyond the range if the server knows no ranges."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill what is there, 0 only at the end. Raises StoreUnavailable, also if it is early."""

    def close(self) -> None:
        """Give the connection back, or end it where bytes are left."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what lies in a folder."""

    entries: Sequence[Entry]
    #: What the server's clock showed; ``None``: it did not tell.
    now: float | None
    #: Opens the next page; empty: this is the last one.
    next: str = ""


class Client(ABC):
    """One account of one object store."""

    #: Objects that one page of a list holds at most.
    page_size: int = 1000

    #: An upload has at most as many parts; S3 says 10,000.
    most_parts: int = 10_000
    #: Parts may be sent side by side and in any order.
    parts_in_any_order: bool = True
    #: The object appears with its last part, ``complete`` only describes it.
    last_part_publishes: bool = False

    @abstractmethod
    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""

    @abstractmethod
    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range of an object of this version; ``length`` None: to its end.

        Without ``version`` it is the one there is now, then ``length`` may go beyond the end of the
        object, which may be empty. The body begins at ``start`` also if the server knows no ranges.
        Raises Conflict.
        """

    @abstractmethod
    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store a whole object: over anything, over version ``only_if``, or where none is.

        Raises Conflict, also where ``only_if`` is given and there is no object any more.
        """

    @abstractmethod
    def delete(self, location: Location) -> None:
        """Remove an object; one that is not there is no error."""

    @abstractmethod
    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Begin an upload in parts; return its id.

        The condition, as of ``put``, is told here and to ``complete``: the client gives it to the
        store where that minds it as the object appears. Raises Conflict then, or from its last
        part.
        """

    @abstractmethod
    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Store part ``number``, from 1, which is the object's bytes from ``start``.

        Parts but the last have a multiple of 8 MiB. Returns its tag. A part may be stored again:
        an answer may have been lost.
        """

    def copy_part(
        self, location: Location, upload: str, number: int, span: Span, *, version: str
    ) -> str:
        """Store bytes of the object as it is now as part ``number``; return its tag.

        For clients of a ``patching.PatchingStore``. Raises Conflict where the object has another
        version, and where the store does no such thing.
        """
        del upload, number, span, version
        raise Conflict(f"{location}: no part of it can be kept")

    @abstractmethod
    def complete(
        self,
        location: Location,
        upload: str,
        tags: Sequence[str],
        *,
        size: int,
        only_if: str | None = None,
        absent: bool = False,
    ) -> ObjectInfo:
        """Make the object of its parts, ``size`` bytes together, visible all at once.

        Raises Conflict where the condition does not hold and the store minds it.
        NotFound: no such upload; it is completed already if an answer was lost.
        """

    @abstractmethod
    def abort(self, location: Location, upload: str) -> bool:
        """Forget an upload and its parts; tell whether nothing of it is left for certain.

        ``False``: a part that was being stored may have survived, ask again. One that is not there
        is no error.
        """

    def unfinished(self, location: Location) -> Sequence[str]:
        """Return the ids of this object's uploads that were begun and have not ended.

        None where nothing of them is kept, or where they end by themselves.
        """
        del location
        return ()

    def first_part(self, location: Location, version: str) -> int | None:
        """Return the size of the first part of an object whose checksum is ``md5-parts``.

        ``None``: the store does not tell.
        """
        del location, version
        return None

    def page(self, folder: Location, after: str) -> Page:
        """List objects directly below a folder; ``after``: what the page before called ``next``.

        Raises AccessDenied where there are no lists.
        """
        del after
        raise AccessDenied(f"{folder} is in a store that has no lists of its objects")

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
