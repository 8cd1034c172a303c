"""One small question to a metadata service: plain HTTP, given up in time, cancelled at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import h11

from runner.errors import Unavailable

#: Of an answer; they are some words.
_MOST = 64 << 10
_PIECE = 16 << 10
#: Seconds for an answer that nobody has to wait for.
SOON = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said."""

    status: int
    #: By name in lower case.
    headers: Mapping[str, str]
    text: str


async def ask(
    address: str,
    path: str,
    headers: Mapping[str, str],
    *,
    method: str = "GET",
    seconds: float = SOON,
) -> Answer:
    """Ask the service at ``address`` (``http://HOST[:PORT]``). Raises Unavailable.

    No proxy is asked, whatever the environment says: the service is at the machine itself.
    """
    host, port, name = _place(address)
    try:
        with anyio.fail_after(seconds):
            stream = await anyio.connect_tcp(host, port)
            async with stream:
                return await _exchange(stream, method, path, {"Host": name, **headers})
    except TimeoutError as error:
        raise Unavailable(f"{address} gave no answer within {seconds:g} s") from error
    except (OSError, h11.ProtocolError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        said = str(error) or type(error).__name__
        raise Unavailable(f"{address} gave no answer: {said}") from error


def _place(address: str) -> tuple[str, int, str]:
    """Return host, port, and both as a request names them. Raises Unavailable for what is none."""
    try:
        place = urlsplit(address)
        host, port = place.hostname or "", place.port or 80
        if place.scheme == "http" and host.encode("idna"):
            return host, port, place.netloc
    except ValueError:
        pass
    raise Unavailable(f"{address!r} is no address of a metadata service: http://HOST[:PORT]")


async def _exchange(
    stream: anyio.abc.ByteStream, method: str, path: str, headers: Mapping[str, str]
) -> Answer:
    http = h11.Connection(h11.CLIENT)
    lines = [*headers.items(), ("Connection", "close")]
    if method != "GET":
        lines.append(("Content-Length", "0"))
    request = h11.Request(method=method, target=path, headers=lines)
    await stream.send((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    status, told, body = 0, dict[str, str](), b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await _more(stream))
        elif isinstance(event, h11.Response):
            status = event.status_code
            told = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MOST:
                raise Unavailable(f"the answer to {path} is far too long for a metadata service")
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, told, body.decode("utf-8", "replace").strip())


async def _more(stream: anyio.abc.ByteStream) -> bytes:
    try:
        return await stream.receive(_PIECE)
    except anyio.EndOfStream:
        return b""
