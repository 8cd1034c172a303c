"""The listener over real sockets, with clients that are well-behaved, slow and hostile."""

from __future__ import annotations

import os
import resource
import socket

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

from runner.errors import Misconfigured
from runner.redaction import Secret
from runner.web.limits import Limits
from runner.web.listener import Listener
from runner.web.site import Site
from tests.web.browser import QUICK, Held, ask, closes, connected, listening, reply, request

pytestmark = pytest.mark.anyio


async def test_a_page_is_shown() -> None:
    """With its type and its length, and kept by no cache."""
    async with listening() as listener:
        got = await ask(listener, request())
    assert (got.status, got.body) == (200, b"hello\n")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["cache-control"] == "no-store"


async def test_one_connection_serves_many_requests() -> None:
    """Also where they come in one piece, and HEAD has no body."""
    async with listening() as listener, await connected(listener) as stream:
        await stream.send(request())
        assert (await reply(stream)).status == 200
        await stream.send(request(method="HEAD"))
        assert (await reply(stream, is_head=True)).headers["content-length"] == "6"
        await stream.send(request("/echo", "POST", body=b"one") + request("/nowhere"))
        both = b""
        while b"there is nothing here" not in both:
            both += await stream.receive()
        assert both.startswith(b"HTTP/1.1 200")
        assert b'{"body": "one", "method": "POST"}' in both


async def test_http_1_0_is_understood() -> None:
    """As of the simplest health checks; the connection ends with the answer."""
    async with listening() as listener, await connected(listener) as stream:
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reply(stream)).status == 200
        await closes(stream)


async def test_what_cannot_be_answered_says_why() -> None:
    """Unknown paths, methods, pages that fail and pages that take for ever."""
    async with listening() as listener:
        nowhere = await ask(listener, request("/nowhere"))
        assert nowhere.status == 404
        assert b"/secret" in nowhere.body
        wrong = await ask(listener, request("/", "DELETE"))
        assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert (await ask(listener, request("/broken"))).status == 500
        sorry = await ask(listener, request("/sorry"))
        assert (sorry.status, sorry.body) == (503, b"the broker sleeps\n")
        assert (await ask(listener, request("/never"))).status == 503
        assert (await ask(listener, request())).status == 200


async def test_a_wide_listener_shows_what_is_open_and_asks_for_the_token() -> None:
    """Bound to all addresses, also where the client comes by loopback."""
    async with listening("") as listener:
        assert not listener.is_local
        assert (await ask(listener, request("/"))).status == 200
        assert (await ask(listener, request("/secret"))).status == 403
    async with listening("", token=Secret("sesame")) as listener:
        refused = await ask(listener, request("/secret"))
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        bearer = "Authorization: Bearer sesame"
        assert (await ask(listener, request("/secret", "GET", bearer))).status == 200


async def test_a_foreign_host_or_origin_gets_nothing() -> None:
    """On loopback as well: a page in a browser reaches it."""
    async with listening() as listener:
        rebound = b"GET / HTTP/1.1\r\nHost: evil.example:9464\r\n\r\n"
        assert (await ask(listener, rebound)).status == 421
        origin = "Origin: http://evil.example"
        assert (await ask(listener, request("/echo", "POST", origin, body=b"x"))).status == 403


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000, 431),
        (request("/echo", "POST", "Content-Length: 9", body=b"x"), 400),
        (request("/echo", "POST", body=b"x" * 999_999), 413),
    ],
)
async def test_what_is_no_request_or_too_large_is_refused(data: bytes, status: int) -> None:
    """With a sentence, before it was taken in; the next client is served."""
    async with listening() as listener:
        got = await ask(listener, data)
        assert (got.status, got.headers["connection"]) == (status, "close")
        assert (await ask(listener, request())).status == 200


async def test_who_sends_slowly_is_cut_off() -> None:
    """A byte now and then does not prolong it; and nobody else waits for that."""
    async with listening(limits=QUICK) as listener, await connected(listener) as slow:

        async def dribble() -> None:
            try:
                for byte in request("/", "GET", "X: " + "y" * 1000):
                    await slow.send(bytes([byte]))
                    await anyio.sleep(0.02)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

        async with anyio.create_task_group() as group:
            group.start_soon(dribble)
            assert (await ask(listener, request())).status == 200
            with anyio.fail_after(20):
                assert (await reply(slow)).status == 408
            await closes(slow)
            group.cancel_scope.cancel()


async def test_who_keeps_a_connection_and_asks_nothing_is_cut_off() -> None:
    """Without a word: a request of its own could be on its way."""
    async with listening(limits=QUICK) as listener, await connected(listener) as idle:
        await idle.send(request())
        assert (await reply(idle)).status == 200
        await closes(idle)


async def test_who_does_not_read_is_cut_off() -> None:
    """An answer that nobody takes is not kept for ever."""
    async with listening(limits=QUICK) as listener, await connected(listener) as deaf:
        await deaf.send(request("/big"))
        assert (await ask(listener, request())).status == 200
        with anyio.fail_after(20):
            while listener.connections:  # noqa: ASYNC110 - no event tells of it
                await anyio.sleep(0.01)


async def test_the_newest_gets_in_however_many_dawdle() -> None:
    """Who has owed a request for longest goes first; who is being answered stays."""
    held = Held()
    async with listening(site=held.site, most=3) as listener, await held.asks(listener) as busy:
        dawdlers = [await connected(listener) for _ in range(5)]
        try:
            await closes(dawdlers[0])
            assert (await ask(listener, request())).status == 200
            assert listener.connections <= 3
            held.let.set()
            assert (await reply(busy)).status == 200
        finally:
            for one in dawdlers:
                await one.aclose()


async def test_where_all_are_being_answered_the_next_is_turned_away() -> None:
    """No more than so many are served at a time."""
    held = Held()
    async with listening(site=held.site, most=1) as listener, await held.asks(listener) as busy:
        async with await connected(listener) as late:
            await closes(late)
        held.let.set()
        assert (await reply(busy)).status == 200


async def test_without_descriptors_it_waits_for_some() -> None:
    """A daemon whose experiments take every descriptor loses a client, not its life."""
    async with listening() as listener:
        address = listener.addresses[0]
        with socket.socket() as early:
            early.settimeout(0)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                early.connect_ex((address.host, address.port))
                for _ in range(20):  # turns of the event loop, each of which could accept
                    await anyio.lowlevel.checkpoint()
                assert listener.connections == 0
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await ask(listener, request())).status == 200


async def test_a_taken_port_is_said_with_its_remedy() -> None:
    """One sentence that names the option, the port and what to do."""
    async with listening() as listener:
        port = listener.addresses[0].port
        with pytest.raises(Misconfigured, match=f"--listen 127.0.0.1:{port}: port {port} is taken"):
            await Listener(Site({})).open("127.0.0.1", port)


async def test_an_address_of_another_machine_is_said() -> None:
    """One sentence."""
    with pytest.raises(Misconfigured, match=r"203.0.113.7 is no address of this machine"):
        await Listener(Site({})).open("203.0.113.7", 0)


async def test_the_port_is_free_again_at_once() -> None:
    """After connections were served; and no process that is executed inherits the socket."""
    async with listening(limits=Limits()) as listener:
        assert (await ask(listener, request())).status == 200
        port = listener.addresses[0].port
        raw = [one.extra(SocketAttribute.raw_socket) for one in listener._listeners]  # noqa: S610
        assert [one.get_inheritable() for one in raw] == [False]
    async with await Listener(Site({})).open("127.0.0.1", port) as again:
        assert again.addresses[0].port == port
