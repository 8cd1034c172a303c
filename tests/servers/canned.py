"""A server on HTTP that answers what a test says, for what no real one can be brought to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.s3 import S3Server

#: Status, headers and body.
Canned = tuple[int, dict[str, str], bytes]
#: Of method, path and headers, whose names are in lower case.
Says = Callable[[str, str, dict[str, str]], Canned]


@contextmanager
def answering(answer: Says) -> Iterator[tuple[S3Server, list[tuple[str, dict[str, str]]]]]:
    """Serve what ``answer`` says to method, path and headers; what was asked is listed."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append((self.command, headers))
            status, told, body = answer(self.command, self.path, headers)
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = respond  # noqa: N815 - the server wants these names

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield S3Server(server.server_address[1]), asked
        finally:
            server.shutdown()
            thread.join()
