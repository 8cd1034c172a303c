"""The minio SDK's store keeps the contract against SeaweedFS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.model import Credentials, Location
from runner.redaction import Secret
from runner.stores.base import AccessDenied, Account, NotFound, StoreOptions
from runner.stores.minio import MinioStore
from runner.stores.remote.client import Absent
from runner.stores.remote.retrying import Plan
from tests.contracts.stores import Halted, StoreContract, everything
from tests.servers.certificates import self_signed
from tests.servers.faults import Side, Stall
from tests.servers.proxy import Proxy
from tests.servers.s3 import ANONYMOUS, S3Server
from tests.servers.seaweed import ADMIN, ALICE, READER

pytestmark = [pytest.mark.anyio, pytest.mark.service("s3")]


def opened(server: S3Server, credentials: Credentials) -> MinioStore:
    """Make a store of the server."""
    account = Account("minio", server.endpoint, credentials=credentials)
    return MinioStore.for_account(account, StoreOptions())


@pytest.fixture
async def store(seaweed_server: S3Server) -> AsyncIterator[MinioStore]:
    """Return the admin's store."""
    async with opened(seaweed_server, ADMIN) as store:
        yield store


class TestMinio(StoreContract):
    """The contract, with requests over the network."""

    @pytest.fixture
    def versions_tell_rewrites(self) -> bool:
        """An ETag is the digest of the content."""
        return False

    @pytest.fixture
    async def store(self, seaweed_server: S3Server) -> AsyncIterator[MinioStore]:
        """Return the admin's store."""
        async with opened(seaweed_server, ADMIN) as store:
            yield store

    @pytest.fixture
    async def other(self, seaweed_server: S3Server) -> AsyncIterator[MinioStore]:
        """Return a store with connections of its own."""
        async with opened(seaweed_server, ADMIN) as store:
            yield store

    @pytest.fixture
    def location(self, seaweed_server: S3Server, seaweed_bucket: str) -> Location:
        """Return a key with what has to be quoted in it."""
        return seaweed_server.location(seaweed_bucket, "experiments/a b+c%d/ü.tar")


async def test_a_missing_bucket_is_named(store: MinioStore, seaweed_server: S3Server) -> None:
    """The one who reads must see that it is not the key that is wrong."""
    location = seaweed_server.location("no-such-bucket", "key")
    with pytest.raises(NotFound, match="there is no such bucket"):
        await store.stat(location)
    with pytest.raises(NotFound, match="there is no such bucket"):
        await store.read(location, everything)


@pytest.mark.parametrize(
    ("credentials", "remedy"),
    [
        (Credentials(ALICE.access_key, Secret("no-secret-of-hers")), "the secret key is wrong"),
        (Credentials("nobody", Secret("knows-him-at-all")), "the access key is not known"),
        (ALICE, "have no right to it"),
        (READER, "have no right to it"),
        (ANONYMOUS, "have no right to it"),
    ],
)
async def test_keys_that_do_not_open_are_denied_with_the_reason(
    seaweed_server: S3Server, seaweed_bucket: str, credentials: Credentials, remedy: str
) -> None:
    """Whoever submitted can mend what is wrong."""
    seaweed_server.put(seaweed_bucket, "key", b"content")
    location = seaweed_server.location(seaweed_bucket, "key")
    async with opened(seaweed_server, credentials) as store:
        for act in (store.stat(location), store.read(location, everything)):
            with pytest.raises(AccessDenied, match=remedy):
                await act


async def test_a_reader_may_not_write(seaweed_server: S3Server, alice_bucket: str) -> None:
    """Rights are per bucket and per kind of access."""
    location = seaweed_server.location(alice_bucket, "key")
    async with opened(seaweed_server, ALICE) as alice, opened(seaweed_server, READER) as reader:
        info = await alice.put_if(location, b"hers", None)
        assert await reader.read(location, everything) == b"hers"
        with pytest.raises(AccessDenied):
            await reader.put_if(location, b"his", info.version)
        with pytest.raises(AccessDenied):
            await reader.write(location, large)
        assert await alice.stat(location) == info


@pytest.mark.parametrize("credentials", [ANONYMOUS, ALICE], ids=["anonymous", "denied"])
async def test_public_objects_need_no_keys(
    seaweed_server: S3Server, public_bucket: str, credentials: Credentials
) -> None:
    """Neither where none are given, nor where those given are for something else."""
    seaweed_server.put(public_bucket, "key", b"public")
    location = seaweed_server.location(public_bucket, "key")
    async with opened(seaweed_server, credentials) as store:
        assert (await store.stat(location)).size == 6
        assert await store.read(location, everything) == b"public"


def large(stream: BinaryIO) -> None:
    """Produce 20 MiB."""
    stream.writelines(bytes([number]) * (1 << 20) for number in range(20))


async def test_a_large_object_is_verified_by_its_parts(
    store: MinioStore, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """The store gives a digest of parts, and tells how large the first one was."""
    location = seaweed_server.location(seaweed_bucket, "large")
    written = await store.write(location, large)
    info = await store.stat(location)
    assert info == written
    assert info.checksum == written.checksum
    assert info.checksum is not None
    assert info.checksum.algorithm == "md5-parts"
    client = store._client.get()
    assert client.first_part(location, info.version) == 8 << 20
    assert len(await store.read(location, everything)) == 20 << 20


async def test_an_upload_that_fails_leaves_nothing_open(
    store: MinioStore, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """Neither an object nor parts that somebody would have to pay for."""
    location = seaweed_server.location(seaweed_bucket, "large")

    def fail(stream: BinaryIO) -> None:
        large(stream)
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(location, fail)
    assert seaweed_server.uploads(seaweed_bucket) == []
    assert seaweed_server.keys(seaweed_bucket) == []


async def test_a_cancelled_upload_leaves_nothing_open(
    store: MinioStore, seaweed_server: S3Server, seaweed_bucket: str
) -> None:
    """Whatever was on its way."""
    location = seaweed_server.location(seaweed_bucket, "large")
    for _ in range(3):
        halted = Halted()
        async with anyio.create_task_group() as group:
            group.start_soon(store.write, location, halted.produce)
            while not seaweed_server.uploads(seaweed_bucket):  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert halted.ended
        assert seaweed_server.uploads(seaweed_bucket) == []
    assert seaweed_server.keys(seaweed_bucket) == []


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:1", "nothing listens there: .*Connection refused"),
        ("http://no-such-host.invalid:80", "the host name cannot be resolved"),
    ],
)
async def test_a_store_that_is_not_there_is_unavailable(endpoint: str, reason: str) -> None:
    """It may be there later; the sentence says what was tried, for as long as is wanted of that."""
    location = Location("s3", endpoint.partition("//")[2], "bucket", "key")
    account = Account("minio", endpoint, credentials=ADMIN)
    options = StoreOptions(plan=Plan(first=0.001, longest=0.01, absence=0.05))
    async with MinioStore.for_account(account, options) as store:
        with pytest.raises(Absent, match=reason):
            await store.stat(location)


async def test_a_certificate_is_trusted_when_the_operator_says_so(
    seaweed_server: S3Server, seaweed_bucket: str, tmp_path: Path
) -> None:
    """Before that the sentence names the option, and nothing is tried again."""
    context, authority = self_signed(tmp_path)
    location = seaweed_server.location(seaweed_bucket, "key")
    with Proxy(("127.0.0.1", seaweed_server.port), tls=context) as proxy:
        account = Account("minio", proxy.url, credentials=ADMIN)
        async with MinioStore.for_account(account, StoreOptions()) as store:
            with pytest.raises(StoreUnavailable, match=r"not trusted.*--s3-ca"):
                await store.stat(location)
        options = StoreOptions(s3_ca=authority)
        async with MinioStore.for_account(account, options) as store:
            await store.write(location, large)
            assert len(await store.read(location, everything)) == 20 << 20


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_stopped_transfer_over_tls_is_cut(
    seaweed_server: S3Server, seaweed_bucket: str, tmp_path: Path, method: str
) -> None:
    """An encrypted connection on which nothing moves is left as fast as a plain one."""
    context, authority = self_signed(tmp_path)
    seaweed_server.put(seaweed_bucket, "key", bytes(20 << 20))
    location = seaweed_server.location(seaweed_bucket, "key")
    with Proxy(("127.0.0.1", seaweed_server.port), tls=context) as proxy:
        account = Account("minio", proxy.url, credentials=ADMIN)
        side = Side.ANSWER if method == "GET" else Side.REQUEST
        rule = proxy.inject(Stall(1 << 20, side), method=method, times=None)
        async with (
            MinioStore.for_account(account, StoreOptions(s3_ca=authority)) as store,
            anyio.create_task_group() as group,
        ):
            if method == "GET":
                group.start_soon(store.read, location, everything)
            else:
                group.start_soon(store.write, location, large)
            await anyio.to_thread.run_sync(proxy.wait_for_fault, rule)
            group.cancel_scope.cancel()
        proxy.clear()


async def test_names_that_no_bucket_has_are_not_found(store: MinioStore) -> None:
    """They come from a message, and no request is made of them."""
    with pytest.raises(NotFound, match="cannot exist"):
        await store.stat(Location("s3", "127.0.0.1", "No Bucket!", "key"))


@pytest.mark.parametrize("endpoint", ["http://host/with/path", "http://in_valid:host"])
async def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    """The sentence shows what was written."""
    account = Account("minio", endpoint, credentials=ADMIN)
    async with MinioStore.for_account(account, StoreOptions()) as store:
        with pytest.raises(AccessDenied, match=f"{endpoint} is no S3 endpoint"):
            await store.stat(Location("s3", "host", "bucket", "key"))
