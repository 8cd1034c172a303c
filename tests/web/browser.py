"""A client that sends exactly the bytes it is given, and the listener it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import SocketStream

from runner.errors import RunnerError
from runner.web.limits import Limits
from runner.web.listener import Listener
from runner.web.message import Answer, Request, document, sentence
from runner.web.site import Page, Site

QUICK = Limits(patience=0.3, idle=0.3)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def hello(_: Request) -> Answer:
    """Say hello."""
    return sentence(200, "hello")


async def big(_: Request) -> Answer:
    """Say a lot: more than any socket's buffers hold."""
    return Answer(200, b"x" * (32 << 20))


async def echo(request: Request) -> Answer:
    """Say what was said."""
    return document({"body": request.body.decode(), "method": request.method})


async def never(_: Request) -> Answer:
    """Say nothing."""
    await anyio.sleep_forever()
    raise AssertionError


async def broken(_: Request) -> Answer:
    """Fail as our own defects do."""
    raise ZeroDivisionError


async def sorry(_: Request) -> Answer:
    """Fail as the world does."""
    raise RunnerError("the broker sleeps")


PAGES = {
    "/": Page(hello, is_open=True),
    "/secret": Page(hello),
    "/echo": Page(echo, is_open=True, methods=frozenset({"GET", "POST"})),
    "/big": Page(big, is_open=True),
    "/never": Page(never, is_open=True),
    "/broken": Page(broken, is_open=True),
    "/sorry": Page(sorry, is_open=True),
}


SITE = Site(PAGES, patience=0.3)


@dataclass(eq=False)
class Held:
    """A site of one page whose answer comes when it is let."""

    asked: anyio.Event = field(default_factory=anyio.Event)
    let: anyio.Event = field(default_factory=anyio.Event)

    async def _answer(self, _: Request) -> Answer:
        self.asked.set()
        await self.let.wait()
        return sentence(200, "at last")

    @property
    def site(self) -> Site:
        """Return it, with a page that answers at once beside it."""
        return Site({"/": PAGES["/"], "/held": Page(self._answer, is_open=True)}, patience=60)

    async def asks(self, listener: Listener) -> SocketStream:
        """Ask for the page, and return when it is being answered."""
        stream = await connected(listener)
        await stream.send(request("/held"))
        with anyio.fail_after(20):
            await self.asked.wait()
        return stream


@asynccontextmanager
async def listening(
    host: str = "127.0.0.1", site: Site = SITE, **more: Any
) -> AsyncIterator[Listener]:
    """Serve a site on a free port."""
    async with (
        await Listener(site, **more).open(host, 0) as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve)
        yield listener
        group.cancel_scope.cancel()


async def connected(listener: Listener) -> SocketStream:
    """Connect, by loopback."""
    return await anyio.connect_tcp("127.0.0.1", listener.addresses[0].port)


def request(path: str = "/", method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
    """Write a request as a browser would, with further header lines."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


async def reply(stream: SocketStream, *, is_head: bool = False) -> Reply:
    """Read one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while not is_head and len(body) < int(headers["content-length"]):
        body += await stream.receive()
    return Reply(int(first.split()[1]), headers, body)


async def ask(listener: Listener, data: bytes) -> Reply:
    """Send a request on a connection of its own and return the answer."""
    with anyio.fail_after(20):
        async with await connected(listener) as stream:
            await stream.send(data)
            return await reply(stream)


async def closes(stream: SocketStream) -> None:
    """Wait until the other side has closed."""
    with anyio.fail_after(20):
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return
