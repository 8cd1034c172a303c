"""A remote store without a network: keeps objects in memory, and fails when it is told to."""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

from runner.errors import StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import (
    Account,
    Checksum,
    Conflict,
    Entry,
    NotFound,
    ObjectInfo,
    StoreOptions,
)
from runner.stores.remote.client import Body, Client, Data, Page
from runner.stores.remote.retrying import Plan
from runner.stores.remote.store import RemoteStore
from runner.wires import here

#: Bytes that one read of a body gives at most.
PIECE = 1 << 20


def md5(body: bytes) -> str:
    """Return the digest in hexadecimal."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class Stall:
    """A connection on which nothing comes, until it is cut."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def wait(self) -> None:
        """Wait as a client waits for its server."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            wire = here()
            assert wire is not None, "a call that nobody could cut"
            wire.hold(ours)
            self.reached.set()
            ours.recv(1)
        raise StoreUnavailable("the connection was cut")


@dataclass
class _Stored:
    body: bytes
    info: ObjectInfo


@dataclass
class InMemory(Client):
    """Objects with generations for versions.

    ``trouble`` is called with the name of each operation and what was asked; what it raises is the
    answer. ``trouble_after`` is called when the operation is done: its answer is lost.
    """

    trouble: Callable[[str, int], None] = lambda *_: None
    trouble_after: Callable[[str, int], None] = lambda *_: None
    #: Called with the place in the object before each piece of a body.
    reading: Callable[[int], None] = lambda _: None
    knows_ranges: bool = True
    knows_sizes: bool = True
    #: Where in the object the next bodies end, too early, without a word.
    cuts: list[int] = field(default_factory=list)
    #: The answers of ``abort`` before it is true.
    aborts_unsure: int = 0
    parts_in_any_order: bool = True
    objects: dict[Location, _Stored] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    #: What was asked: operation and where in the object.
    asked: list[tuple[str, int]] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    is_closed: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def store(self, location: Location, body: bytes, checksum: Checksum | None = None) -> None:
        """Have an object, with a checksum of the test's choice."""
        info = ObjectInfo(Bytes(len(body)), f"v{next(self._numbers)}", checksum)
        self.objects[location] = _Stored(body, info)

    def head(self, location: Location) -> ObjectInfo:
        """Describe an object."""
        self._ask("head", 0)
        return self._found(location).info

    def get(
        self, location: Location, *, start: int, length: int | None, version: str | None
    ) -> Body:
        """Open a range."""
        self._ask("get", start)
        stored = self._found(location)
        if version not in {None, stored.info.version}:
            raise Conflict(f"{location} has another version")
        return _Body(self, stored, start, length)

    def put(
        self, location: Location, body: Data, *, only_if: str | None = None, absent: bool = False
    ) -> ObjectInfo:
        """Store an object."""
        self._ask("put", 0)
        with self._lock:
            self._compare(location, only_if, absent=absent)
            self.store(location, bytes(body), Checksum("md5", md5(bytes(body))))
        self.trouble_after("put", 0)
        return self.objects[location].info

    def delete(self, location: Location) -> None:
        """Remove an object."""
        self._ask("delete", 0)
        self.objects.pop(location, None)

    def begin(self, location: Location, *, only_if: str | None = None, absent: bool = False) -> str:
        """Begin an upload."""
        del location, only_if, absent
        self._ask("begin", 0)
        with self._lock:
            upload = f"u{next(self._numbers)}"
            self.uploads[upload] = {}
        return upload

    def put_part(
        self, location: Location, upload: str, number: int, body: Data, *, start: int, last: bool
    ) -> str:
        """Store a part."""
        del location
        with self._lock:
            self.at_once["parts"] += 1
            self.most_at_once = max(self.most_at_once, self.at_once["parts"])
        try:
            self._ask("put_part", start)
            assert last or len(body) % (8 << 20) == 0
            with self._lock:
                if upload not in self.uploads:
                    raise NotFound("no such upload")
                self.uploads[upload][number] = bytes(body)
            self.trouble_after("put_part", start)
        finally:
            with self._lock:
                self.at_once["parts"] -= 1
        return md5(bytes(body))

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
        """Make the object."""
        self._ask("complete", 0)
        with self._lock:
            self._compare(location, only_if, absent=absent)
            if upload not in self.uploads:
                raise NotFound("no such upload")
            parts = self.uploads.pop(upload)
            assert [md5(parts[number]) for number in sorted(parts)] == list(tags)
            body = b"".join(parts[number] for number in sorted(parts))
            assert len(body) == size
            digests = b"".join(bytes.fromhex(tag) for tag in tags)
            self.store(location, body, Checksum("md5-parts", f"{md5(digests)}-{len(tags)}"))
        self.trouble_after("complete", 0)
        return self.objects[location].info

    def abort(self, location: Location, upload: str) -> bool:
        """Forget an upload."""
        del location
        self._ask("abort", 0)
        self.uploads.pop(upload, None)
        self.aborts_unsure -= 1
        return self.aborts_unsure < 0

    def first_part(self, location: Location, version: str) -> int | None:
        """Tell what the engine's own uploads begin with."""
        del version
        self._ask("first_part", 0)
        return min(8 << 20, len(self._found(location).body))

    def page(self, folder: Location, after: str) -> Page:
        """List one object a page, all as old as the epoch."""
        self._ask("page", int(after or 0))
        start = f"{folder.key}/"
        found = [
            Entry(one, stored.info.size, 0.0)
            for one, stored in self.objects.items()
            if one.key.startswith(start) and "/" not in one.key.removeprefix(start)
        ]
        number = int(after or 0)
        more = str(number + 1) if number + 1 < len(found) else ""
        return Page(found[number : number + 1], None, more)

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True

    def count(self, operation: str) -> int:
        """Return how often something was asked."""
        return sum(1 for asked, _ in self.asked if asked == operation)

    def _ask(self, operation: str, place: int) -> None:
        self.asked.append((operation, place))
        self.trouble(operation, place)

    def _compare(self, location: Location, only_if: str | None, *, absent: bool) -> None:
        stored = self.objects.get(location)
        now = stored.info.version if stored else None
        if (absent and now is not None) or (only_if is not None and now != only_if):
            raise Conflict("a condition does not hold")

    def _found(self, location: Location) -> _Stored:
        stored = self.objects.get(location)
        if stored is None:
            raise NotFound(f"{location} is not there")
        return stored


class _Body:
    """A body in pieces."""

    def __init__(self, client: InMemory, stored: _Stored, start: int, length: int | None) -> None:
        self._client = client
        self._stored = stored
        self._place = start
        self._wire = here()
        whole = len(stored.body)
        is_all = length is None or not client.knows_ranges
        self.end = whole if is_all or length is None else min(whole, start + length)
        size = Bytes(whole if client.knows_sizes else -1)
        self.info = ObjectInfo(size, stored.info.version, stored.info.checksum)
        self._cut = min(self.end, client.cuts.pop(0)) if client.cuts else self.end

    def readinto(self, buffer: memoryview, /) -> int:
        """Give a piece."""
        with self._wire or nullcontext():  # a stall here is cut as one of a socket would be
            self._client.reading(self._place)
        count = max(0, min(len(buffer), PIECE, self._cut - self._place))
        buffer[:count] = self._stored.body[self._place : self._place + count]
        self._place += count
        return count

    def close(self) -> None:
        """Nothing is open."""


class Once:
    """Trouble that comes a number of times, at one operation, and then no more."""

    def __init__(self, operation: str, error: BaseException, *, times: int = 1) -> None:
        self._operation = operation
        self._error = error
        self._left = times
        self._lock = threading.Lock()

    def __call__(self, operation: str, place: int = 0) -> None:
        """Fail if it is time to."""
        del place
        with self._lock:
            if operation != self._operation or not self._left:
                return
            self._left -= 1
        raise self._error


class MemoryStore(RemoteStore):
    """The engine over a client of the test's own."""

    plan: ClassVar[Plan] = Plan(first=0.001, longest=0.01, patience=2.0)

    def __init__(self, client: InMemory, public: Client | None = None) -> None:
        super().__init__(Account("memory"), StoreOptions())
        self._given = client
        self._given_public = public
        self.made = 0

    def make_client(self, account: Account, options: StoreOptions) -> Client:
        """Return the test's client."""
        del account, options
        self.made += 1
        return self._given

    def make_public_client(self, account: Account, options: StoreOptions) -> Client | None:
        """Return the test's public client."""
        del account, options
        return self._given_public


AT = Location("s3", "store", "bucket", "experiments/key/output.tar")
