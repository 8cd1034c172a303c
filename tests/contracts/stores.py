"""What every object store promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, StoreUnavailable
from runner.model import Location, Span
from runner.stores.base import Conflict, NotFound, ObjectInfo, Store

CHUNK = 1 << 20


def everything(stream: BinaryIO) -> bytes:
    """Consume a stream."""
    return stream.read()


class Halted:
    """A worker thread's function that says where it is and waits to be cancelled there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.ended = False

    def produce(self, stream: BinaryIO) -> None:
        """Write for ever."""
        try:
            while True:
                stream.write(b"x" * CHUNK)
                self.reached.set()
        finally:
            self.ended = True

    def consume(self, stream: BinaryIO) -> None:
        """Read one byte for ever, small as the object may be."""
        try:
            while True:
                stream.read(1)
                self.reached.set()
        finally:
            self.ended = True

    async def wait(self) -> None:
        """Return when the function is at work."""
        await anyio.to_thread.run_sync(self.reached.wait)


class ReadOnlyStoreContract:
    """The promises of ``runner.stores.base`` to those who read."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """Return an open store."""
        raise NotImplementedError

    @pytest.fixture
    def location(self) -> Location:
        """Return a place of the store where nothing is."""
        raise NotImplementedError

    async def put(self, store: Store, location: Location, body: bytes) -> ObjectInfo:
        """Make ``body`` the object at a place, and describe it."""
        raise NotImplementedError

    async def test_what_was_written_is_read(self, store: Store, location: Location) -> None:
        """Bytes come back as they went, and stat tells their size and version."""
        body = bytes(range(256)) * 40
        written = await self.put(store, location, body)
        assert await store.read(location, everything) == body
        assert await store.stat(location) == written
        assert written.size == len(body)

    async def test_an_object_may_be_empty(self, store: Store, location: Location) -> None:
        """Nothing written is an object of no bytes, not no object."""
        await self.put(store, location, b"")
        assert await store.read(location, everything) == b""
        assert (await store.stat(location)).size == 0

    async def test_what_is_not_there_is_not_found(self, store: Store, location: Location) -> None:
        """Reading and stat of nothing raise NotFound, and the error names the object."""
        with pytest.raises(NotFound, match=location.key.rpartition("/")[2]):
            await store.stat(location)
        with pytest.raises(NotFound, match=location.key.rpartition("/")[2]):
            await store.read(location, everything)

    async def test_a_write_replaces(self, store: Store, location: Location) -> None:
        """The later content wins, shorter or not, and has another version."""
        first = await self.put(store, location, b"long content")
        second = await self.put(store, location, b"short")
        assert await store.read(location, everything) == b"short"
        assert first.version != second.version

    async def test_only_the_version_that_is_wanted_is_read(
        self, store: Store, location: Location
    ) -> None:
        """What was replaced since it was looked at is a Conflict, never taken for what it was."""
        info = await self.put(store, location, b"looked at")
        assert await store.read(location, everything, version=info.version) == b"looked at"
        await self.put(store, location, b"replaced, and longer")
        with pytest.raises(Conflict):
            await store.read(location, everything, version=info.version)
        assert await store.read(location, everything) == b"replaced, and longer"

    async def test_a_slice_is_of_the_version_that_was_looked_at(
        self, store: Store, location: Location
    ) -> None:
        """Its bytes alone, wherever in the object; of another version it is a Conflict."""
        info = await self.put(store, location, bytes(range(256)) * 8)
        for span in (Span(0, 3), Span(1000, 500), Span(2047, 1)):
            found = await store.slice(location, span, version=info.version)
            assert found == (bytes(range(256)) * 8)[span.start : span.end]
        await self.put(store, location, b"replaced" * 1000)
        with pytest.raises(Conflict):
            await store.slice(location, Span(1000, 500), version=info.version)

    async def test_a_cancelled_read_stops(self, store: Store, location: Location) -> None:
        """Cancelling in the middle ends the consumer before the call returns."""
        await self.put(store, location, b"content")
        halted = Halted()
        async with anyio.create_task_group() as group:
            group.start_soon(store.read, location, halted.consume)
            await halted.wait()
            group.cancel_scope.cancel()
        assert halted.ended

    async def test_a_consumers_error_is_its_own(self, store: Store, location: Location) -> None:
        """What the consumer raises crosses the seam unchanged, an OSError too."""
        await self.put(store, location, b"content")

        def consume(_: BinaryIO) -> None:
            raise FileNotFoundError("where it was to be unpacked")

        with pytest.raises(FileNotFoundError, match="unpacked"):
            await store.read(location, consume)

    async def test_the_consumers_result_is_returned(self, store: Store, location: Location) -> None:
        """A consumer need not read to the end, and its result is the call's."""
        await self.put(store, location, b"0123456789")
        assert await store.read(location, lambda stream: stream.read(4)) == b"0123"


class StoreContract(ReadOnlyStoreContract):
    """The promises of ``runner.stores.base``."""

    @pytest.fixture
    def other(self) -> Store:
        """Return a second store of the same objects, as another runner has it."""
        raise NotImplementedError

    @pytest.fixture
    def versions_tell_rewrites(self) -> bool:
        """Say whether an object that is written again with the same content has a new version."""
        return True

    async def put(self, store: Store, location: Location, body: bytes) -> ObjectInfo:
        """Write ``body``."""

        def produce(stream: BinaryIO) -> None:
            stream.write(body)

        return await store.write(location, produce)

    async def test_a_failed_write_leaves_what_was_there(
        self, store: Store, location: Location
    ) -> None:
        """A producer's error arrives as it is, and the object is the old one, or none."""

        def produce(stream: BinaryIO) -> None:
            stream.write(b"n" * 3 * CHUNK)
            raise LookupError("half way")

        with pytest.raises(LookupError, match="half way"):
            await store.write(location, produce)
        with pytest.raises(NotFound):
            await store.stat(location)
        old = await self.put(store, location, b"old")
        with pytest.raises(LookupError):
            await store.write(location, produce)
        assert await store.read(location, everything) == b"old"
        assert await store.stat(location) == old

    async def test_what_is_forbidden_in_the_end_leaves_what_was_there(
        self, store: Store, location: Location
    ) -> None:
        """All was produced, and it is asked once more; the error crosses the seam unchanged."""
        await self.put(store, location, b"before")
        produced = list[bool]()

        def produce(stream: BinaryIO) -> None:
            stream.write(b"after")
            produced.append(True)

        def forbid() -> None:
            assert produced
            raise LeaseLost("another has it by now")

        with pytest.raises(LeaseLost, match="another has it"):
            await store.write(location, produce, permitted=forbid)
        assert await store.read(location, everything) == b"before"

    @pytest.fixture
    def minds_conditions_of_parts(self) -> Collection[str]:
        """Name the conditions that the store minds as an object of many parts appears.

        Of ``nothing before`` and ``this version before``.
        """
        return ("nothing before", "this version before")

    @pytest.mark.parametrize("before", ["nothing before", "this version before"])
    @pytest.mark.parametrize("length", [5, 9 * CHUNK], ids=["small", "of parts"])
    async def test_a_writer_suspended_at_the_last_moment_does_not_overwrite(
        self,
        store: Store,
        other: Store,
        location: Location,
        length: int,
        before: str,
        *,
        minds_conditions_of_parts: Collection[str],
    ) -> None:
        """Permitted, it sleeps until the next owner has published; then the store refuses it."""
        if length > CHUNK and before not in minds_conditions_of_parts:
            pytest.skip(f"this server does not mind {before!r} of an object of many parts")
        if before == "this version before":
            await self.put(store, location, b"before")

        def sleep_too_long() -> None:
            anyio.run(self.put, other, location, b"of the next owner")

        def produce(stream: BinaryIO) -> None:
            stream.write(b"l" * length)

        with pytest.raises(StoreUnavailable, match="replaced by somebody else"):
            await store.write(location, produce, permitted=sleep_too_long)
        assert await store.read(location, everything) == b"of the next owner"

    async def test_who_is_permitted_replaces_what_there_is(
        self, store: Store, location: Location
    ) -> None:
        """Again and again, small and of parts: a condition of its own never refuses a writer."""
        asked = list[int]()
        for length in (5, 9 * CHUNK, 7, 10 * CHUNK):
            body = length.to_bytes(4, "big") * (length // 4 + 1)

            def produce(stream: BinaryIO, body: bytes = body) -> None:
                stream.write(body)

            info = await store.write(location, produce, permitted=lambda: asked.append(1))
            assert await store.stat(location) == info
            assert await store.read(location, everything) == body
        assert len(asked) == 4

    async def test_a_cancelled_write_leaves_what_was_there(
        self, store: Store, location: Location
    ) -> None:
        """Cancelling in the middle ends the producer before the call returns."""
        await self.put(store, location, b"old")
        halted = Halted()
        async with anyio.create_task_group() as group:
            group.start_soon(store.write, location, halted.produce)
            await halted.wait()
            group.cancel_scope.cancel()
        assert halted.ended
        assert await store.read(location, everything) == b"old"

    async def test_a_large_object_goes_through_in_pieces(
        self, store: Store, location: Location
    ) -> None:
        """64 MiB pass both ways in pieces of one, and arrive unchanged."""
        written, found = hashlib.sha256(), hashlib.sha256()

        def produce(stream: BinaryIO) -> None:
            for number in range(64):
                piece = number.to_bytes(4, "big") * (CHUNK // 4)
                written.update(piece)
                stream.write(piece)

        def consume(stream: BinaryIO) -> int:
            longest = 0
            while piece := stream.read(CHUNK):
                found.update(piece)
                longest = max(longest, len(piece))
            return longest

        info = await store.write(location, produce)
        assert info.size == 64 * CHUNK
        assert await store.read(location, consume) <= CHUNK
        assert found.digest() == written.digest()

    async def test_a_deleted_object_is_gone(self, store: Store, location: Location) -> None:
        """Deleting removes, and deleting again is no error."""
        await self.put(store, location, b"content")
        await store.delete(location)
        with pytest.raises(NotFound):
            await store.stat(location)
        await store.delete(location)

    async def test_a_folder_is_listed(self, store: Store, location: Location) -> None:
        """Exactly the objects directly below it, with size and time; an empty one has none."""
        folder = replace(location, key=f"{location.key}.d")
        assert (await store.folder(folder)).entries == ()
        for name in ("one.json", "two & more.json", "below/three.json"):
            await self.put(store, replace(folder, key=f"{folder.key}/{name}"), name.encode())
        await self.put(store, replace(folder, key=f"{folder.key}.beside"), b"elsewhere")
        listing = await store.folder(folder)
        found = {one.location.key.removeprefix(folder.key): one.size for one in listing.entries}
        assert found == {"/one.json": 8, "/two & more.json": 15}
        for one in listing.entries:
            assert (await store.stat(one.location)).size == one.size
            # Stores that tell their clock tell whole seconds of it.
            assert listing.now is None or one.modified < listing.now + 1

    async def test_put_if_creates_once(self, store: Store, location: Location) -> None:
        """Without a version only an object that is not there is written."""
        created = await store.put_if(location, b"first", None)
        assert await store.stat(location) == created
        with pytest.raises(Conflict, match="exists already"):
            await store.put_if(location, b"second", None)
        assert await store.read(location, everything) == b"first"

    async def test_put_if_replaces_the_version_it_knows(
        self, store: Store, location: Location
    ) -> None:
        """The current version is replaced, a stale one never."""
        first = await store.put_if(location, b"first", None)
        second = await store.put_if(location, b"second", first.version)
        third = await store.put_if(location, b"third", second.version)
        for stale in (first, second):
            with pytest.raises(Conflict):
                await store.put_if(location, b"late", stale.version)
        await store.put_if(location, b"last", third.version)
        assert await store.read(location, everything) == b"last"

    async def test_put_if_sees_a_plain_write(self, store: Store, location: Location) -> None:
        """A write in between makes the version stale."""
        first = await store.put_if(location, b"body", None)
        await self.put(store, location, b"other")
        with pytest.raises(Conflict):
            await store.put_if(location, b"late", first.version)

    async def test_the_same_content_is_a_new_version_where_that_is_promised(
        self, store: Store, location: Location, *, versions_tell_rewrites: bool
    ) -> None:
        """Stores whose version is a digest cannot tell; the others refuse the stale version."""
        first = await store.put_if(location, b"body", None)
        second = await store.put_if(location, b"body", first.version)
        third = await self.put(store, location, b"body")
        await store.delete(location)
        fourth = await store.put_if(location, b"body", None)
        versions = {info.version for info in (first, second, third, fourth)}
        assert len(versions) == (4 if versions_tell_rewrites else 1)

    async def test_put_if_does_not_revive(self, store: Store, location: Location) -> None:
        """An object that was deleted is no version of anything; it may be created again."""
        first = await store.put_if(location, b"body", None)
        await store.delete(location)
        with pytest.raises(Conflict):
            await store.put_if(location, b"late", first.version)
        again = await store.put_if(location, b"body", None)
        assert await store.stat(location) == again

    async def test_one_of_many_creators_wins(
        self, store: Store, other: Store, location: Location
    ) -> None:
        """Twenty callers of two stores create the same object: one does, nineteen hear Conflict."""
        won: list[bytes] = []
        lost: list[bytes] = []

        async def create(using: Store, body: bytes) -> None:
            try:
                await using.put_if(location, body, None)
            except Conflict:
                lost.append(body)
            else:
                won.append(body)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(create, (store, other)[number % 2], b"%d" % number)
        assert len(won) == 1
        assert len(lost) == 19
        assert await store.read(location, everything) == won[0]

    async def test_no_conditional_write_is_lost(
        self, store: Store, other: Store, location: Location
    ) -> None:
        """A counter that four callers raise by read and put_if counts every success."""
        await store.put_if(location, b"0", None)

        async def count(using: Store) -> None:
            done = 0
            while done < 5:
                known = await using.stat(location)
                value = int(await using.read(location, everything))
                try:
                    await using.put_if(location, b"%d" % (value + 1), known.version)
                except Conflict:
                    continue
                done += 1

        async with anyio.create_task_group() as group:
            for using in (store, other, store, other):
                group.start_soon(count, using)
        assert await store.read(location, everything) == b"20"
