"""Objects are replaced by ranges of themselves and a tail, on real servers and on troubled ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import StoreUnavailable
from runner.model import Bytes, Location, Span
from runner.stores.base import AccessDenied, Account, Conflict, NotFound, ObjectInfo, StoreOptions
from runner.stores.lent import LentStore
from runner.stores.local import LocalStore
from runner.stores.minio import MinioStore
from runner.stores.remote.parts import boundaries
from runner.stores.remote.patching import SMALLEST, PatchingStore, cut
from runner.stores.s3 import S3Store
from tests.contracts.stores import CHUNK, Halted, everything
from tests.servers.s3 import S3Server
from tests.stores.copying import Copying, CopyingStore
from tests.stores.in_memory import AT, Once, Stall

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def writing(body: bytes) -> Callable[[BinaryIO], None]:
    """Return a producer of ``body``."""

    def produce(stream: BinaryIO) -> None:
        stream.write(body)

    return produce


def unwanted(_: BinaryIO) -> None:
    """Produce for nobody."""
    raise AssertionError("nothing was to be produced")


def joined(body: bytes, spans: Sequence[Span], tail: bytes) -> bytes:
    """Return what a patch must come to."""
    return b"".join(body[span.start : span.end] for span in spans) + tail


async def put(store: PatchingStore, location: Location, body: bytes) -> ObjectInfo:
    """Store an object whole."""
    return await store.write(location, writing(body))


class PatchingContract:
    """What ``patch`` promises; each S3 backend supplies the fixtures."""

    @pytest.fixture
    def server(self) -> S3Server:
        """Return a running server."""
        raise NotImplementedError

    @pytest.fixture
    def location(self) -> Location:
        """Return a key of a new bucket of it."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> PatchingStore:
        """Return an open store of it."""
        raise NotImplementedError

    async def test_ranges_and_tail_are_the_object(
        self, store: PatchingStore, location: Location, server: S3Server
    ) -> None:
        """Again and again: each is read back whole, from the server as from the store."""
        body = os.urandom(40 * MIB)
        info = await put(store, location, body)
        rounds: tuple[tuple[list[Span], bytes], ...] = (
            ([Span(0, 12 * MIB + 512), Span(20 * MIB, 20 * MIB)], os.urandom(3 * MIB)),
            ([Span(0, 30 * MIB)], os.urandom(9 * MIB)),
            ([Span(1024, 17 * MIB), Span(18 * MIB, SMALLEST)], b"end"),
            ([Span(512, 16 * MIB)], b""),
        )
        for spans, tail in rounds:
            assert all(span.end <= len(body) for span in spans)
            body = joined(body, spans, tail)
            info = await store.patch(location, info.version, spans, writing(tail))
            assert info.size == len(body)
            assert await store.stat(location) == info
            assert digest(await store.read(location, everything)) == digest(body)
            assert digest(server.get(location.bucket, location.key)) == digest(body)
        assert server.uploads(location.bucket) == []

    async def test_a_long_range_is_copied_in_pieces(
        self, store: PatchingStore, location: Location
    ) -> None:
        """What is longer than one request copies arrives as it was."""
        body = os.urandom(10 * MIB) * 15
        info = await put(store, location, body)
        spans = [Span(MIB, len(body) - MIB)]
        await store.patch(location, info.version, spans, writing(b"tail"))
        assert digest(await store.read(location, everything)) == digest(body[MIB:] + b"tail")

    async def test_another_version_is_left_alone(
        self, store: PatchingStore, location: Location, server: S3Server
    ) -> None:
        """Conflict, before anything is produced, and nothing is left open."""
        info = await put(store, location, os.urandom(20 * MIB))
        other = await put(store, location, b"somebody else's")
        with pytest.raises(Conflict):
            await store.patch(location, info.version, [Span(0, 20 * MIB)], unwanted)
        assert await store.read(location, everything) == b"somebody else's"
        await store.delete(location)
        with pytest.raises(Conflict):
            await store.patch(location, other.version, [Span(0, 20 * MIB)], unwanted)
        assert server.keys(location.bucket) == []
        assert server.uploads(location.bucket) == []

    async def test_a_failed_patch_leaves_what_was_there(
        self, store: PatchingStore, location: Location, server: S3Server
    ) -> None:
        """The producer's error arrives as it is, and the object is the old one."""
        body = os.urandom(20 * MIB)
        info = await put(store, location, body)

        def produce(stream: BinaryIO) -> None:
            stream.write(bytes(9 * MIB))
            raise LookupError("half way")

        with pytest.raises(LookupError, match="half way"):
            await store.patch(location, info.version, [Span(0, 20 * MIB)], produce)
        assert await store.stat(location) == info
        assert digest(await store.read(location, everything)) == digest(body)
        assert server.uploads(location.bucket) == []

    async def test_a_cancelled_patch_leaves_what_was_there(
        self, store: PatchingStore, location: Location, server: S3Server
    ) -> None:
        """Cancelling in the middle ends the producer before the call returns."""
        info = await put(store, location, bytes(20 * MIB))
        halted = Halted()
        async with anyio.create_task_group() as group:
            group.start_soon(
                store.patch, location, info.version, [Span(0, 20 * MIB)], halted.produce
            )
            await halted.wait()
            group.cancel_scope.cancel()
        assert halted.ended
        assert await store.stat(location) == info
        assert server.uploads(location.bucket) == []


def digest(body: bytes) -> str:
    """Return something short to compare."""
    return hashlib.sha256(body).hexdigest()


def minio_of(server: S3Server) -> MinioStore:
    """Open a store of the server."""
    account = Account("minio", server.endpoint, credentials=server.admin)
    return MinioStore.for_account(account, StoreOptions())


def s3_of(server: S3Server) -> S3Store:
    """Open a store of the server."""
    account = Account("s3", server.endpoint, server.region, server.admin)
    return S3Store.for_account(account, StoreOptions())


class OnSeaweed(PatchingContract):
    """A server that is not Amazon's."""

    @pytest.fixture
    def server(self, seaweed_server: S3Server) -> S3Server:
        """Return SeaweedFS."""
        return seaweed_server

    @pytest.fixture
    def location(self, seaweed_server: S3Server, seaweed_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return seaweed_server.location(seaweed_bucket, "experiments/a b+c%d/ü.tar")


@pytest.mark.service("s3")
class TestMinioOnSeaweed(OnSeaweed):
    """Through the minio SDK."""

    @pytest.fixture
    async def store(self, seaweed_server: S3Server) -> AsyncIterator[MinioStore]:
        """Return the admin's store."""
        async with minio_of(seaweed_server) as store:
            yield store


@pytest.mark.service("sqs")
class TestS3OnMoto(PatchingContract):
    """Through boto3, with a server that follows Amazon's answers closely."""

    @pytest.fixture
    def server(self, moto_server: S3Server) -> S3Server:
        """Return moto."""
        return moto_server

    @pytest.fixture
    def location(self, moto_server: S3Server, moto_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return moto_server.location(moto_bucket, "experiments/a b+c%d/ü.tar")

    @pytest.fixture
    async def store(self, moto_server: S3Server) -> AsyncIterator[S3Store]:
        """Return the admin's store."""
        async with s3_of(moto_server) as store:
            yield store


@pytest.mark.service("s3")
class TestS3OnSeaweed(OnSeaweed):
    """Through boto3."""

    @pytest.fixture
    async def store(self, seaweed_server: S3Server) -> AsyncIterator[S3Store]:
        """Return the admin's store."""
        async with s3_of(seaweed_server) as store:
            yield store


# ----------------------------------------------------------------------- trouble


BODY = os.urandom(CHUNK) * 40
WHOLE = [Span(0, len(BODY))]


@pytest.fixture
def client() -> Copying:
    """Return a client that has an object."""
    client = Copying()
    client.store(AT, BODY)
    return client


@pytest.fixture
async def store(client: Copying) -> AsyncIterator[CopyingStore]:
    """Return its store."""
    async with CopyingStore(client) as store:
        yield store


async def test_a_copy_is_tried_again(client: Copying, store: CopyingStore) -> None:
    """A store that does not answer for a moment costs a moment, no more."""
    info = await store.stat(AT)
    client.trouble = Once("copy_part", StoreUnavailable("come back"), times=2)
    await store.patch(AT, info.version, WHOLE, writing(b"tail"))
    assert client.objects[AT].body == BODY + b"tail"
    client.trouble_after = Once("copy_part", StoreUnavailable("the answer was lost"))
    info = await store.stat(AT)
    await store.patch(AT, info.version, WHOLE, writing(b"other"))
    assert client.objects[AT].body == BODY + b"other"
    assert client.uploads == {}


@pytest.mark.parametrize("refusal", [AccessDenied("no"), NotFound("gone"), Conflict("changed")])
async def test_a_store_that_refuses_to_copy_keeps_nothing(
    client: Copying, store: CopyingStore, refusal: Exception
) -> None:
    """A key that may write but not read, a version that is gone: the whole is to be written."""
    info = await store.stat(AT)
    client.trouble = Once("copy_part", refusal)
    with pytest.raises(Conflict):
        await store.patch(AT, info.version, WHOLE, unwanted)
    assert client.uploads == {}
    assert client.objects[AT].body == BODY


async def test_a_store_that_stays_away_is_unavailable(client: Copying, store: CopyingStore) -> None:
    """The whole could not be written either: it is said as it is."""
    info = await store.stat(AT)
    client.trouble = Once("copy_part", StoreUnavailable("not today"), times=10**9)
    with pytest.raises(StoreUnavailable, match="not today"):
        await store.patch(AT, info.version, WHOLE, unwanted)
    assert client.uploads == {}


async def test_a_stop_ends_copies_on_their_way(client: Copying, store: CopyingStore) -> None:
    """A copy may take minutes, a stop may not: the connection is cut."""
    info = await store.stat(AT)
    stall = Stall()

    def wait(operation: str, _: int) -> None:
        if operation == "copy_part":
            stall.wait()

    client.trouble = wait
    async with anyio.create_task_group() as group:
        group.start_soon(store.patch, AT, info.version, WHOLE, unwanted)
        await anyio.to_thread.run_sync(stall.reached.wait)
        group.cancel_scope.cancel()
    assert client.uploads == {}
    assert client.objects[AT].body == BODY


async def test_parts_that_look_like_a_plain_upload_are_not_made(
    client: Copying, store: CopyingStore
) -> None:
    """A reader would verify the object by parts whose tags need be no digests, and refuse it."""
    info = await store.stat(AT)
    with pytest.raises(Conflict, match="plain upload"):
        await store.patch(AT, info.version, [Span(0, 9 * MIB)], writing(bytes(3 * MIB)))
    assert client.uploads == {}
    assert client.objects[AT].body == BODY


async def test_an_object_of_the_wrong_length_is_noticed() -> None:
    """A store that made something else of the ranges is not trusted with them."""

    class Short(Copying):
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
            info = super().complete(
                location, upload, tags, size=size, only_if=only_if, absent=absent
            )
            self.objects[location].info = ObjectInfo(Bytes(size - 1), info.version)
            return info

    client = Short()
    client.store(AT, BODY)
    async with CopyingStore(client) as short:
        with pytest.raises(Conflict, match="instead of"):
            await short.patch(AT, (await short.stat(AT)).version, WHOLE, writing(b"tail"))


async def test_what_cannot_keep_anything_says_so(tmp_path: Path, store: CopyingStore) -> None:
    """A local store keeps no ranges, and one that is lent does what its own store does."""
    local = LocalStore((tmp_path,))
    assert local.smallest_kept is None
    with pytest.raises(Conflict):
        await local.patch(Location("file", "", "", str(tmp_path / "x")), "v", WHOLE, unwanted)
    lent = LentStore(store, "")
    assert lent.smallest_kept == SMALLEST
    info = await lent.stat(AT)
    assert (await lent.patch(AT, info.version, WHOLE, writing(b"x"))).size == len(BODY) + 1


# ------------------------------------------------------------------------- how ranges are cut

SPANS = st.lists(
    st.tuples(
        st.integers(0, MIB),
        st.integers(SMALLEST, 300 * MIB)
        | st.integers(1, 4000).map(lambda gigabytes: gigabytes << 30),
    ),
    min_size=1,
    max_size=20,
)


def spans_of(gaps_and_lengths: list[tuple[int, int]]) -> list[Span]:
    """Lay spans one behind the other."""
    spans, place = [], 0
    for gap, length in gaps_and_lengths:
        spans.append(Span(place + gap, length))
        place += gap + length
    return spans


@given(found=SPANS.map(spans_of))
def test_pieces_are_the_spans_cut(found: list[Span]) -> None:
    """Nothing is lost or doubled, no piece is too short or too long for a request, nor too many."""
    pieces = cut(found)
    covered: list[Span] = []
    for piece in pieces:
        if covered and covered[-1].end == piece.start:
            covered[-1] = Span(covered[-1].start, covered[-1].length + piece.length)
        else:
            covered.append(piece)
    wanted: list[Span] = []
    for span in found:
        if wanted and wanted[-1].end == span.start:
            wanted[-1] = Span(wanted[-1].start, wanted[-1].length + span.length)
        else:
            wanted.append(span)
    assert covered == wanted
    assert all(piece.length >= SMALLEST for piece in pieces)
    assert len(pieces) <= 900 + 2 * len(found)
    total = sum(span.length for span in found)
    assert max(piece.length for piece in pieces) <= max(64 * MIB, total // 900 + 1)


@given(
    length=st.integers(15 * MIB, 200 * MIB),
    others=st.lists(st.integers(SMALLEST, 100 * MIB), max_size=5),
    tail=st.integers(1, 100 * MIB),
)
def test_a_long_first_range_never_looks_like_a_plain_upload(
    length: int, others: list[int], tail: int
) -> None:
    """From 15 MiB on no tail makes the parts look alike: such patches are never in vain."""
    pieces = cut(spans_of([(0, length), *((1, other) for other in others)]))
    size = sum(piece.length for piece in pieces) + tail
    count = len(pieces) + -(-tail // (8 * MIB))
    assert boundaries(size, count, pieces[0].length) is None
