"""A small web server whose answers a test writes itself, and which keeps what it was asked."""

from __future__ import annotations

import contextlib
import email.message
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runner.model import Location


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    #: Path and query.
    target: str
    headers: email.message.Message
    body: bytes

    @property
    def range(self) -> tuple[int, int] | None:
        """Return the first and the last byte that is asked for."""
        unit, _, span = self.headers.get("range", "").partition("=")
        first, _, last = span.partition("-")
        return (int(first), int(last or 1 << 60)) if unit == "bytes" else None


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Send the body in chunks and tell no length.
    chunked: bool = False
    #: Claim this length instead of the true one.
    length: int | None = None
    #: Send nothing that tells where the body ends, but the end of the connection.
    unbounded: bool = False
    #: Called when this many bytes of the body are sent, and before the rest.
    pause: Callable[[], object] | None = None
    pause_at: int = 0


class WebServer:
    """Answers with what ``answer`` returns; every connection has a thread."""

    def __init__(self, answer: Callable[[Asked], Reply], tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.scheme = "https" if tls else "http"
        self._server = _Server(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]

    def location(self, key: str, host: str = "127.0.0.1") -> Location:
        """Address an object, with its query."""
        return Location(self.scheme, f"{host}:{self.port}", "", key)

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[WebServer]:
        """Serve until the end of the block, and leave no thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.close_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self._open: set[_Handler] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def opened(self, handler: _Handler) -> None:
        with self._lock:
            self._open.add(handler)

    def closed(self, handler: _Handler) -> None:
        with self._lock:
            self._open.discard(handler)

    def close_all(self) -> None:
        """End kept connections, then wait for their threads."""
        with self._lock:
            for handler in self._open:
                with contextlib.suppress(OSError):
                    handler.connection.shutdown(2)
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients of these tests hang up on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self)

    def finish(self) -> None:
        self.server.closed(self)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Print nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = Asked(self.command, self.path, self.headers, body)
        self.server.web.asked.append(asked)
        self._send(self.server.web.answer(asked))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = _serve  # noqa: N815 - named there

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.unbounded:
            self.close_connection = True
        else:
            length = len(reply.body) if reply.length is None else reply.length
            self.send_header("Content-Length", str(length))
            # A length that is not kept can only be seen by the end of the connection.
            self.close_connection = length != len(reply.body)
        self.end_headers()
        self._write(reply, reply.body[: reply.pause_at])
        if reply.pause:
            reply.pause()
        self._write(reply, reply.body[reply.pause_at :])
        if reply.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, reply: Reply, piece: bytes) -> None:
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            self.wfile.flush()
