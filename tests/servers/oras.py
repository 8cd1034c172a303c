"""A registry of images by ORAS: one SIF file under any tag, over plain HTTP."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry:
    """What it has, and what it was asked for."""

    port: int
    #: By name and tag, ``team/image:1``.
    images: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    #: Answers nothing but errors.
    is_broken: bool = False

    def address(self, name: str) -> str:
        """Return what stands for an image of this registry."""
        return f"oras://localhost:{self.port}/{name}"

    @property
    def pulls(self) -> int:
        """How often an image was sent."""
        return sum("/blobs/" in path for path in self.asked)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and body."""
        self.asked.append(f"GET {path}")
        if self.is_broken:
            return 503, "text/plain", b"503 Service Unavailable"
        parts = path.removeprefix("/v2/").strip("/").split("/")
        if parts == [""] or path == "/v2":
            return 200, "application/json", b"{}"
        kind, which = parts[-2:]
        name = "/".join(parts[:-2])
        if kind == "manifests":
            return self._manifest(name, which)
        bodies = (b"{}", *self.images.values())
        found = next((body for body in bodies if _digest(body) == which), None)
        return (
            (404, "text/plain", b"") if found is None else (200, "application/octet-stream", found)
        )

    def _manifest(self, name: str, which: str) -> tuple[int, str, bytes]:
        for known, body in self.images.items():
            written = _manifest(body)
            if known == f"{name}:{which}" or which == _digest(written):
                return 200, _MANIFEST, written
        error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        return 404, "application/json", json.dumps(error).encode()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _manifest(body: bytes) -> bytes:
    layer = {
        "mediaType": "application/vnd.sylabs.sif.layer.v1.sif",
        "digest": _digest(body),
        "size": len(body),
        "annotations": {"org.opencontainers.image.title": "image.sif"},
    }
    config = {
        "mediaType": "application/vnd.sylabs.sif.config.v1+json",
        "digest": _digest(b"{}"),
        "size": 2,
    }
    whole = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}
    return json.dumps(whole).encode()


@contextmanager
def registry(image: Path | None = None) -> Iterator[Registry]:
    """Serve on a free port of this machine; ``image`` is ``team/image:1``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(has_body=True)

        def do_HEAD(self) -> None:
            self._send(has_body=False)

        def _send(self, *, has_body: bool) -> None:
            status, kind, body = known.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if has_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known = Registry(server.server_address[1])
    if image is not None:
        known.images["team/image:1"] = image.read_bytes()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
