"""Web servers as stores: what is read, from where it may be read, and what may be shown of it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores import STORES
from runner.stores.base import (
    AccessDenied,
    Account,
    Checksum,
    NotFound,
    ObjectInfo,
    Store,
    StoreOptions,
)
from runner.stores.http.addresses import is_named, why_private
from runner.stores.http.client import HttpClient
from runner.stores.http.store import HttpStore
from runner.stores.remote.client import Busy, Lasting
from runner.stores.remote.parts import RANGE
from runner.stores.remote.retrying import Plan
from tests.contracts.stores import ReadOnlyStoreContract, everything
from tests.servers.certificates import self_signed
from tests.servers.web import Asked, Reply, WebServer

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 64
NEAR = ("127.0.0.1", "localhost", "*.test")


class Quick(HttpStore):
    """The store with less patience."""

    plan = Plan(first=0.001, longest=0.01, patience=0.05)


def made(*private_hosts: str, kind: type[HttpStore] = Quick) -> HttpStore:
    """Make a store that may speak to these near hosts."""
    return kind.for_account(Account("http"), StoreOptions(http_private_hosts=private_hosts))


async def read(location: Location) -> bytes:
    """Read an object of a server of the test."""
    async with made(*NEAR) as store:
        return await store.read(location, everything)


async def stat(location: Location) -> ObjectInfo:
    """Describe an object of a server of the test."""
    async with made(*NEAR) as store:
        return await store.stat(location)


@dataclasses.dataclass
class File:
    """An object as a server without frills has it."""

    body: bytes = BODY
    etag: str = '"1"'
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    has_ranges: bool = True

    def __call__(self, asked: Asked) -> Reply:
        """Answer as RFC 9110 says."""
        headers = {**({"ETag": self.etag} if self.etag else {}), **self.headers}
        if asked.range is None or not self.has_ranges:
            return Reply(200, headers, self.body)
        first, last = asked.range
        size = len(self.body)
        if first >= size:
            return Reply(416, {**headers, "Content-Range": f"bytes */{size}"})
        end = min(last + 1, size)
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        return Reply(206, headers, self.body[first:end])


@contextmanager
def server(answer: Callable[[Asked], Reply]) -> Iterator[WebServer]:
    """Serve answers of the test."""
    with WebServer(answer).serving() as web:
        yield web


# ------------------------------------------------------------------------- the contract


class _WebContract(ReadOnlyStoreContract):
    """Objects of a server whose files a test can write."""

    has_ranges = True

    @pytest.fixture
    def files(self) -> dict[str, File]:
        """Return what the server has, by path."""
        return {}

    @pytest.fixture
    def web(self, files: dict[str, File]) -> Iterator[WebServer]:
        """Serve the files."""

        def answer(asked: Asked) -> Reply:
            return files[asked.target](asked) if asked.target in files else Reply(404)

        with server(answer) as served:
            served.files = files  # type: ignore[attr-defined]  # for put
            yield served

    @pytest.fixture
    async def store(self, web: WebServer) -> AsyncIterator[Store]:
        """Return a store that may speak to the server."""
        async with made("127.0.0.1") as opened:
            opened.web = web  # type: ignore[attr-defined]  # for put
            yield opened

    @pytest.fixture
    def location(self, web: WebServer) -> Location:
        """Return a path with a signature."""
        return web.location("data/set%20one.tar?signature=abc%2Fdef")

    async def put(self, store: Store, location: Location, body: bytes) -> ObjectInfo:
        """Write the file beside the store's back."""
        files: dict[str, File] = store.web.files  # type: ignore[attr-defined]
        tag = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        files[f"/{location.key}"] = File(body, f'"{tag}"', has_ranges=self.has_ranges)
        return await store.stat(location)

    async def test_what_is_not_there_is_not_found(self, store: Store, location: Location) -> None:
        """Reading and stat of nothing raise NotFound, and the error names the path."""
        with pytest.raises(NotFound, match=r"set%20one\.tar"):
            await store.stat(location)
        with pytest.raises(NotFound, match=r"set%20one\.tar"):
            await store.read(location, everything)

    async def test_a_large_object_is_read_in_pieces(self, store: Store, location: Location) -> None:
        """40 MiB arrive unchanged, by ranges side by side where the server has them."""
        body = os.urandom(1 << 20) * 40
        await self.put(store, location, body)
        found = hashlib.sha256()

        def consume(stream: BinaryIO) -> None:
            while piece := stream.read(1 << 20):
                found.update(piece)

        await store.read(location, consume)
        assert found.digest() == hashlib.sha256(body).digest()
        asked = [one.range for one in store.web.asked if one.range != (0, 0)]  # type: ignore[attr-defined]
        assert len(asked) > 2 if self.has_ranges else len(asked) == 1


class TestHttp(_WebContract):
    """A server that has ranges."""


class TestHttpWithoutRanges(_WebContract):
    """A server that sends everything, whatever is asked for."""

    has_ranges = False


async def test_a_web_server_is_for_reading() -> None:
    """Writing of every kind is refused in words, before anything is produced or sent."""
    location = Location("https", "example.com", "", "data.tar?signature=abc")

    def produce(_: BinaryIO) -> None:
        raise AssertionError("nothing is to be produced")

    async with made() as store:
        for call in (
            lambda: store.write(location, produce),
            lambda: store.put_if(location, b"x", None),
            lambda: store.put_if(location, b"x", "1"),
            lambda: store.delete(location),
        ):
            with pytest.raises(AccessDenied, match=r"data\.tar.* for reading alone"):
                await call()


def test_both_schemes_are_registered() -> None:
    """Clients write http and https, accounts say http."""
    assert STORES.load("http") is STORES.load("https") is HttpStore


# ------------------------------------------------------------------------- bodies


async def test_a_body_that_ends_early_is_unavailable() -> None:
    """A truncated answer with status 200 never passes for the object."""
    reply = Reply(200, {"ETag": '"1"'}, BODY[:99], length=len(BODY))
    with server(lambda _: reply) as web, pytest.raises(StoreUnavailable, match="early"):
        await read(web.location("x"))


async def test_a_connection_that_breaks_is_read_on() -> None:
    """What came stays, and the rest is asked for."""
    file, broken = File(), threading.Event()

    def answer(asked: Asked) -> Reply:
        reply = file(asked)
        if broken.is_set():
            return reply
        broken.set()
        return dataclasses.replace(reply, body=reply.body[:1000], length=len(reply.body))

    with server(answer) as web:
        assert await read(web.location("x")) == BODY
        assert [one.range and one.range[0] for one in web.asked] == [0, 1000]


async def test_a_rest_without_a_version_is_not_trusted() -> None:
    """Where nothing tells one version from another, two answers are never put together."""
    with server(lambda _: Reply(200, {}, BODY[:99], length=len(BODY))) as web:
        with pytest.raises(StoreUnavailable):
            await read(web.location("x"))
        assert {one.range for one in web.asked} <= {None, (0, RANGE - 1)}


async def test_an_object_replaced_meanwhile_is_read_anew_or_not_at_all() -> None:
    """Bytes of two versions never make one object."""
    versions = [File(b"a" * 5000, '"1"'), File(b"b" * 5000, '"2"')]

    def answer(asked: Asked) -> Reply:
        reply = versions[0](asked)
        if len(versions) > 1:
            versions.pop(0)
            return dataclasses.replace(reply, body=reply.body[:10], length=5000)
        return reply

    with server(answer) as web:
        try:
            found = await read(web.location("x"))
        except StoreUnavailable:
            return
        assert found == b"b" * 5000


async def test_a_range_without_validators_is_asked_for_as_a_whole() -> None:
    """Ranges of an object without ETag and date might be of two versions."""
    with server(File(etag="")) as web:
        assert await read(web.location("x")) == BODY
        info = await stat(web.location("x"))
    assert (info.size, info.version) == (len(BODY), "")
    assert None in [one.range for one in web.asked]


async def test_a_date_is_a_version_too() -> None:
    """Last-Modified with the size stands for an ETag."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    with server(File(etag="", headers={"Last-Modified": date})) as web:
        assert (await stat(web.location("x"))).version == f"{date} {len(BODY)}"
        assert await read(web.location("x")) == BODY


async def test_chunks_without_a_length_are_measured() -> None:
    """The size is learned by reading once; the stream itself is taken as it comes."""
    with server(lambda _: Reply(200, {"ETag": '"1"'}, BODY, chunked=True)) as web:
        info = await stat(web.location("x"))
        assert info.size == len(BODY)
        assert info.checksum == Checksum("sha256", hashlib.sha256(BODY).hexdigest())
        assert await read(web.location("x")) == BODY


async def test_a_body_that_only_the_connection_ends_is_refused() -> None:
    """Nobody could tell the end from a fault."""
    reply = Reply(200, {}, BODY, unbounded=True)
    with server(lambda _: reply) as web, pytest.raises(AccessDenied, match="tells no length"):
        await read(web.location("x"))


async def test_a_wrong_range_is_no_object() -> None:
    """A partial answer that does not say which part is not taken for the whole."""
    reply = Reply(206, {"ETag": '"1"'}, b"part")
    with server(lambda _: reply) as web, pytest.raises(AccessDenied, match="206"):
        await read(web.location("x"))


async def test_what_is_encoded_stays_encoded() -> None:
    """The bytes are those of the server; nothing is unpacked on the way."""
    body = b"\x1f\x8b not really gzip"
    with server(File(body, headers={"Content-Encoding": "gzip"})) as web:
        assert await read(web.location("x")) == body
        assert web.asked[0].headers["accept-encoding"] == "identity"


async def test_a_stopped_transfer_does_not_wait_for_a_slow_server() -> None:
    """Cancelling cuts the connection while the server still keeps the rest to itself."""
    begun, may_end, gave_up = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        if not may_end.wait(60):
            gave_up.set()

    reply = Reply(200, {"ETag": '"1"'}, BODY, pause=wait, pause_at=10)
    with server(lambda _: reply) as web:
        async with made(*NEAR) as store, anyio.create_task_group() as group:
            group.start_soon(store.read, web.location("x"), everything)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
        may_end.set()
    assert not gave_up.is_set()


# ------------------------------------------------------------------------- digests


def encoded(algorithm: str, body: bytes = BODY) -> str:
    """Return a digest as headers have it."""
    return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()


@pytest.mark.parametrize(
    ("headers", "checksum"),
    [
        ({"Digest": f"sha-256={encoded('sha256')}"}, "sha256"),
        ({"Digest": f"unixsum=30637, SHA-256={encoded('sha256')}"}, "sha256"),
        ({"Repr-Digest": f"sha-256=:{encoded('sha256')}:, md5=:{encoded('md5')}:"}, "sha256"),
        ({"x-goog-hash": f"crc32c=AAAAAA==,md5={encoded('md5')}"}, "md5"),
        ({"Content-MD5": "no digest"}, ""),
        ({"Digest": "sha-256=short"}, ""),
        ({"x-goog-hash": "md5=x", "x-goog-stored-content-encoding": "gzip"}, ""),
    ],
)
async def test_digests_of_servers_are_read(headers: dict[str, str], checksum: str) -> None:
    """Whatever a server tells of the whole object is compared, the strongest first."""
    with server(File(headers=headers)) as web:
        info = await stat(web.location("x"))
        assert await read(web.location("x")) == BODY
    told = hashlib.new(checksum, BODY).hexdigest() if checksum else ""
    assert info.checksum == (Checksum(checksum, told) if checksum else None)


async def test_a_content_md5_counts_for_whole_answers_only() -> None:
    """With a range it is the digest of the range."""
    headers = {"Content-MD5": encoded("md5")}
    with server(File(headers=headers, has_ranges=False)) as web:
        assert (await stat(web.location("x"))).checksum is not None
    with server(File(headers=headers)) as web:
        assert (await stat(web.location("x"))).checksum is None


async def test_a_wrong_digest_is_noticed() -> None:
    """Nothing is used that is not what the server says it is."""
    headers = {"Digest": f"sha-256={encoded('sha256', b'else')}"}
    with server(File(headers=headers)) as web, pytest.raises(StoreUnavailable, match="sha256"):
        await read(web.location("x"))


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (403, AccessDenied, "freshly signed"),
        (401, AccessDenied, "401"),
        (404, NotFound, "404"),
        (410, NotFound, "410"),
        (400, AccessDenied, "400"),
        (500, StoreUnavailable, "500"),
        (503, StoreUnavailable, "503"),
        (204, AccessDenied, "204"),
    ],
)
def test_refusals_have_names(status: int, kind: type[Exception], said: str) -> None:
    """One table says who must act, and no error shows the signature."""
    with server(lambda _: Reply(status)) as web:
        client = HttpClient(NEAR)
        with pytest.raises(kind, match=said) as caught:
            client.head(web.location("data.tar?X-Signature=secret"))
        client.close()
    assert type(caught.value) is kind
    assert "data.tar" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_busy_says_when_to_come_back() -> None:
    """Retry-After reaches the engine."""
    with server(lambda _: Reply(503, {"Retry-After": "7"})) as web:
        client = HttpClient(NEAR)
        with pytest.raises(Busy) as caught:
            client.head(web.location("x"))
        client.close()
    assert caught.value.after == 7


async def test_nobody_listening_is_unavailable() -> None:
    """A refused connection and a name that means nothing may pass."""
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        with pytest.raises(StoreUnavailable, match=r"/data\.tar") as caught:
            await read(Location("http", host, "", "data.tar?secret"))
        assert "secret" not in str(caught.value)


# ------------------------------------------------------------------------- TLS


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[WebServer, Path]]:
    """Serve over TLS; return the file of the authority, too."""
    context, authority = self_signed(tmp_path)
    with WebServer(File(), context).serving() as web:
        yield web, authority


async def test_tls_is_checked_by_name(
    secure: tuple[WebServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was checked, the certificate is the name's."""
    web, authority = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert await read(web.location("x", "localhost")) == BODY
    assert web.asked[0].headers["host"] == f"localhost:{web.port}"
    async with made("*.localhost") as store:
        with pytest.raises(StoreUnavailable, match=r"not valid for 'a\.localhost'"):
            await store.stat(web.location("x", "a.localhost"))


async def test_an_untrusted_certificate_names_the_variable(
    secure: tuple[WebServer, Path],
) -> None:
    """The operator reads what would make it trusted; it is not tried again and again."""
    async with made(*NEAR, kind=HttpStore) as store:
        with pytest.raises(Lasting, match="SSL_CERT_FILE"):
            await store.stat(secure[0].location("x"))


# ------------------------------------------------------------------------- where to


FORBIDDEN = [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0", "0.0.0.0",  # noqa: S104
    "localhost", "localhost.", "a.localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "10.1.2.3",
    "172.16.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1", "[ff02::1]", "168.63.129.16",
    "192.0.0.192", "255.255.255.255", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
async def test_near_places_are_not_for_messages(host: str) -> None:
    """However it is spelled: refused at once, and the option that allows it is named."""
    async with made() as store:
        with pytest.raises(AccessDenied, match="--http-private-hosts"):
            await store.stat(Location("http", f"{host}:8080", "", "latest/meta-data"))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "193.0.0.1"],
)
def test_public_addresses_are(address: str) -> None:
    """Also as networks without IPv4 write them."""
    assert why_private(address) == ""


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_as_itself(address: object) -> None:
    """No way of writing an IPv4 address inside IPv6 says more than the address."""
    for form in ("::ffff:{}", "64:ff9b::{}"):
        assert why_private(form.format(address)) == why_private(str(address))


def test_patterns_name_hosts() -> None:
    """Case, brackets and the dot of the root make no difference; ports are not part of it."""
    assert is_named("Data.LAN.", ["*.lan"])
    assert is_named("[::1]", ["::1"])
    assert not is_named("evil-lan", ["*.lan"])
    assert not is_named("lan.example.com", ["*.lan", "lan"])


async def test_a_named_host_may_be_near() -> None:
    """``--http-private-hosts`` allows what it names, and that alone."""
    with server(File()) as web:
        async with made("127.0.0.1") as store:
            assert (await store.stat(web.location("x"))).size == len(BODY)
            with pytest.raises(AccessDenied, match="localhost is a loopback address"):
                await store.stat(web.location("x", "localhost"))


def moved(to: str, status: int = 302) -> Reply:
    """Redirect."""
    return Reply(status, {"Location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    """Relative and absolute ones, with every request of a transfer."""
    file = File()

    def answer(asked: Asked) -> Reply:
        if asked.target == "/start":
            return moved("../middle?q=1", status)
        if asked.target == "/middle?q=1":
            return moved(f"http://localhost:{web.port}/end#there", status)
        return file(asked) if asked.target == "/end" else Reply(404)

    with server(answer) as web:
        assert await read(web.location("start")) == BODY


async def test_a_redirect_leads_nowhere_near() -> None:
    """Each hop is checked as the first one is, and nothing is sent to a forbidden one."""
    with server(lambda _: moved(f"http://127.0.0.2:{web.port}/secret?token=abc")) as web:
        with pytest.raises(AccessDenied, match=r"127\.0\.0\.2 is a loopback") as caught:
            await read(web.location("x"))
        assert len(web.asked) == 1
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("ftp://localhost/x", "no http:// or https://"),
        ("file:///etc/passwd", "no http:// or https://"),
        ("http://user:password@localhost/x", "no address of the form"),
        ("http://localhost:port/x", "no http:// or https://"),
        ("http://[::1/x", "leads to no address"),
        ("/x", "more than 5"),
    ],
)
async def test_redirects_to_nonsense_are_refused(to: str, said: str) -> None:
    """Other schemes, passwords, and circles."""
    with server(lambda _: moved(to)) as web, pytest.raises(AccessDenied, match=said) as caught:
        await read(web.location("x"))
    assert "password@" not in str(caught.value)


async def test_a_redirect_does_not_leave_tls(
    secure: tuple[WebServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What began safely does not go on in clear text."""
    web, authority = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    web.answer = lambda _: moved("http://localhost/x")
    with pytest.raises(AccessDenied, match="from https to http://localhost/x"):
        await read(web.location("x"))


async def test_the_address_that_was_checked_is_the_one_spoken_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name is resolved once a request: a resolver that changes its mind reaches nothing."""
    import socket  # noqa: PLC0415 - for this test alone

    answers = iter(["127.0.0.1", "127.0.0.9"])
    real: Callable[..., object] = socket.getaddrinfo
    asked = []

    def resolve(host: str, *args: object, **options: object) -> object:
        if host != "changing.test":
            return real(host, *args, **options)
        asked.append(host)
        return real(next(answers), *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with server(File()) as web:
        async with made("*.test") as store:
            location = web.location("x", "changing.test")
            assert (await store.stat(location)).size == len(BODY)
        assert asked == ["changing.test"]
        assert web.asked[0].headers["host"] == f"changing.test:{web.port}"


# ------------------------------------------------------------------------- proxies


async def test_the_operators_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means nothing here goes to the proxy as it is; NO_PROXY is heeded."""
    with server(File()) as proxy, server(File()) as web:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        far = Location("http", "data.invalid", "", "x?signature=abc")
        assert await read(far) == BODY
        assert proxy.asked[0].target == "http://data.invalid/x?signature=abc"
        assert await read(web.location("x")) == BODY
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "169.254.169.254", "2130706433"])
async def test_a_proxy_opens_no_near_place(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """What is known to be near is refused before the proxy is asked."""
    with server(File()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        async with made() as store:
            with pytest.raises(AccessDenied, match="--http-private-hosts"):
                await store.stat(Location("http", host, "", "x"))
        assert proxy.asked == []


# ------------------------------------------------------------------------- what is shown


def test_a_location_of_the_web_does_not_show_its_query() -> None:
    """A signature gives everybody the object: it is in no text and no repr, and still compared."""
    signed = Location("https", "host", "", "data.tar?X-Amz-Signature=abc")
    assert str(signed) == "https://host/data.tar?***"
    assert "abc" not in repr(signed)
    assert signed.path == "data.tar"
    assert signed != Location("https", "host", "", "data.tar?X-Amz-Signature=def")
    assert signed != Location("https", "host", "", "data.tar")


def test_other_locations_are_shown_whole() -> None:
    """A question mark in a key of an object store is part of its name."""
    assert str(Location("s3", "host", "bucket", "what?.tar")) == "s3://host/bucket/what?.tar"
    assert str(Location("file", "", "", "/what?.tar")) == "file:///what?.tar"
    assert Location("gs", "", "bucket", "what?.tar").path == "what?.tar"
