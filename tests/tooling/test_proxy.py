"""The proxy of the tests does what it was told to, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.certificates import self_signed
from tests.servers.faults import (
    Alter,
    Interrupt,
    LoseAnswer,
    Meanwhile,
    Refuse,
    Side,
    Spoil,
    Stall,
    Trickle,
    Truncate,
    s3_error,
)
from tests.servers.proxy import Proxy

BODY = bytes(range(256)) * 4096


class _Upstream(http.server.BaseHTTPRequestHandler):
    """Gives one body, whole, ranged or in chunks, and keeps what is put."""

    protocol_version = "HTTP/1.1"
    taken: dict[str, bytes]
    hosts: list[str]

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        if self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (BODY[:10], BODY[10:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        begin, end = 0, len(BODY)
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last) + 1
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(BODY[begin:end])

    do_HEAD = do_GET  # noqa: N815 - http.server's spelling

    def do_PUT(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return
        self.taken[self.path] = body
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections break here on purpose."""


@pytest.fixture
def upstream() -> Iterator[type[_Upstream]]:
    """Serve; the handler's class attributes tell what came."""

    class Handler(_Upstream):
        taken: dict[str, bytes] = {}  # noqa: RUF012 - one server has one class
        hosts: list[str] = []  # noqa: RUF012 - likewise

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.server_version = str(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(upstream: type[_Upstream]) -> Iterator[Proxy]:
    """Stand before it."""
    with Proxy(("127.0.0.1", int(upstream.server_version))) as proxy:
        yield proxy


@contextlib.contextmanager
def asking(
    proxy: Proxy, context: ssl.SSLContext | None = None
) -> Iterator[http.client.HTTPConnection]:
    """Have a connection through the proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    if context is not None:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", proxy.port, timeout=30, context=context
        )
    with contextlib.closing(connection):
        yield connection


def got(proxy: Proxy, target: str = "/object", **headers: str) -> bytes:
    """GET it."""
    with asking(proxy) as connection:
        connection.request("GET", target, headers=headers)
        return connection.getresponse().read()


def put(proxy: Proxy, target: str, body: bytes) -> int:
    """PUT it."""
    with asking(proxy) as connection:
        connection.request("PUT", target, body=body)
        return connection.getresponse().status


def test_what_no_rule_meets_passes_unchanged(proxy: Proxy, upstream: type[_Upstream]) -> None:
    """Whole, ranged, chunked and bodiless exchanges pass on one connection, the Host untouched."""
    with asking(proxy) as connection:
        for target, headers, expected in (
            ("/object", {}, BODY),
            ("/object", {"Range": "bytes=100-299"}, BODY[100:300]),
            ("/chunks", {}, BODY),
        ):
            connection.request("GET", target, headers=headers)
            assert connection.getresponse().read() == expected
        connection.request("HEAD", "/object")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BODY)))
        assert answer.read() == b""
        connection.request("PUT", "/put", body=BODY)
        assert connection.getresponse().read() == b""
        connection.request("PUT", "/chunked", body=iter([BODY[:7], BODY[7:]]))
        assert connection.getresponse().read() == b""
    assert upstream.taken == {"/put": BODY, "/chunked": BODY}
    assert set(upstream.hosts) == {proxy.host}
    assert [one.status for one in proxy.exchanges] == [200, 206, 200, 200, 204, 204]
    assert proxy.exchanges[1].start == 100
    assert (proxy.exchanges[1].given, proxy.exchanges[4].sent) == (200, len(BODY))


def test_expect_is_answered(proxy: Proxy, upstream: type[_Upstream]) -> None:
    """A client that asks first is told to go on."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(
            b"PUT /asked HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"yes")
        assert client.recv(100).startswith(b"HTTP/1.1 204 ")
    assert upstream.taken == {"/asked": b"yes"}


def test_a_storm_has_an_end(proxy: Proxy) -> None:
    """A rule begins with the nth exchange that fits, and ends after its times."""
    rule = proxy.inject(Refuse(503, {"Retry-After": "1"}), path="object", nth=2, times=2)
    statuses = []
    with asking(proxy) as connection:
        for target in ("/object", "/other", "/object", "/object", "/object"):
            connection.request("GET", target)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    assert statuses == [200, 200, 503, 503, 200]
    assert len(rule.struck) == 2


def test_a_rule_may_wait_for_a_range(proxy: Proxy) -> None:
    """Only the part that begins where the rule says is befallen."""
    proxy.inject(s3_error("SlowDown", 503), start=100, times=None)
    assert got(proxy, Range="bytes=0-99") == BODY[:100]
    assert b"<Code>SlowDown</Code>" in got(proxy, Range="bytes=100-199")


def test_a_download_is_broken_off(proxy: Proxy) -> None:
    """A reset comes after what was to pass."""
    proxy.inject(Interrupt(at=1000))
    with pytest.raises(ConnectionResetError):
        got(proxy)
    assert proxy.exchanges[0].given == 1000
    assert got(proxy) == BODY


def test_an_upload_is_broken_off(proxy: Proxy, upstream: type[_Upstream]) -> None:
    """The upstream never sees all of it."""
    proxy.inject(Interrupt(at=1000, side=Side.REQUEST), method="PUT")
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        put(proxy, "/put", BODY * 32)
    assert upstream.taken == {}


def test_an_answer_is_lost_after_the_work(proxy: Proxy, upstream: type[_Upstream]) -> None:
    """The upstream has it, and the client hears nothing."""
    proxy.inject(LoseAnswer())
    with pytest.raises(OSError, match=r"reset|without response"):
        put(proxy, "/put", BODY)
    assert upstream.taken == {"/put": BODY}


@pytest.mark.parametrize("lie", [False, True])
def test_a_body_is_cut_short(proxy: Proxy, lie: bool) -> None:  # noqa: FBT001 - parametrised
    """With its length kept HTTP notices; with a length that lies it does not."""
    proxy.inject(Truncate(at=500, lie=lie))
    if lie:
        assert got(proxy) == BODY[:500]
    else:
        with pytest.raises(http.client.IncompleteRead):
            got(proxy)
    assert proxy.exchanges[0].status == 200


@pytest.mark.parametrize("place", [0, 70_000, len(BODY) - 1])
def test_one_byte_is_spoilt_either_way(proxy: Proxy, upstream: type[_Upstream], place: int) -> None:
    """The length stays, the byte at the place differs."""
    proxy.inject(Spoil(at=place), method="GET")
    proxy.inject(Spoil(at=place, side=Side.REQUEST), method="PUT")
    assert put(proxy, "/put", BODY) == 204
    for found in (got(proxy), upstream.taken["/put"]):
        assert [n for n, (a, b) in enumerate(zip(found, BODY, strict=True)) if a != b] == [place]


@pytest.mark.parametrize("at", [0, 1000])
def test_a_stall_lasts_until_the_client_goes(proxy: Proxy, at: int) -> None:
    """Nothing more comes, and the proxy's thread ends with the client."""
    rule = proxy.inject(Stall(at=at))
    with asking(proxy) as connection:
        connection.request("GET", "/object")
        if at:
            assert connection.getresponse().read(at) == BODY[:at]
        proxy.wait_for_fault(rule)
        assert not proxy.exchanges[0].is_over
    proxy.wait_for(lambda seen: seen[0].is_over)


def test_a_stall_ends_with_the_proxy(upstream: type[_Upstream]) -> None:
    """Closing the proxy waits for no client."""
    with Proxy(("127.0.0.1", int(upstream.server_version))) as proxy:
        rule = proxy.inject(Stall(at=10, side=Side.REQUEST))
        with asking(proxy) as connection:
            connection.request("PUT", "/put", body=b"x" * 100)
            proxy.wait_for_fault(rule)
            proxy.down()
            with pytest.raises(OSError, match=r"reset|without response"):
                connection.getresponse()


def test_a_trickle_arrives_whole(proxy: Proxy) -> None:
    """Slow is not wrong."""
    proxy.inject(Trickle(size=50, pause=0.001))
    assert got(proxy, Range="bytes=0-199") == BODY[:200]


def test_headers_are_altered(proxy: Proxy) -> None:
    """A clock may be wrong."""
    proxy.inject(Alter({"date": "Thu, 01 Jan 1970 00:00:00 GMT"}))
    with asking(proxy) as connection:
        connection.request("GET", "/object")
        answer = connection.getresponse()
        answer.read()
    assert answer.headers.get_all("Date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]


def test_something_happens_meanwhile(proxy: Proxy) -> None:
    """The act is done before the upstream is asked."""
    happened: list[int] = []
    proxy.inject(Meanwhile(lambda: happened.append(len(proxy.exchanges))), nth=2)
    assert got(proxy) == got(proxy) == BODY
    assert happened == [2]


def test_a_proxy_that_is_down_refuses(proxy: Proxy) -> None:
    """Nobody listens then; later it is at the same port again."""
    proxy.down()
    with pytest.raises(ConnectionRefusedError):
        got(proxy)
    proxy.up()
    assert got(proxy) == BODY


def test_a_certificate_nobody_trusts(upstream: type[_Upstream], tmp_path: Path) -> None:
    """A client refuses it, one that was told to trust it does not."""
    context, authority = self_signed(tmp_path)
    with Proxy(("127.0.0.1", int(upstream.server_version)), tls=context) as proxy:
        with (
            asking(proxy, context=ssl.create_default_context()) as connection,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            connection.request("GET", "/object")
        trusting = ssl.create_default_context(cafile=authority)
        with asking(proxy, context=trusting) as connection:
            connection.request("GET", "/object")
            assert connection.getresponse().read() == BODY
