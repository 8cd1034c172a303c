"""fake-gcs-server: Google's storage API in memory; it knows generations and no credentials."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.model import Location
from tests.servers.process import free_ports, serving
from tests.services import absence, server_command


@dataclass(frozen=True)
class GcsServer:
    """A server that is ready."""

    port: int

    @property
    def endpoint(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self) -> str:
        """Make a bucket that no other test uses."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.endpoint}/storage/v1/b?project=test",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            return name

    def keys(self, bucket: str) -> list[str]:
        """List the objects of a bucket."""
        with urllib.request.urlopen(  # noqa: S310 - our own server
            f"{self.endpoint}/storage/v1/b/{bucket}/o", timeout=30
        ) as answer:
            return [one["name"] for one in json.load(answer).get("items", ())]

    @staticmethod
    def location(bucket: str, key: str) -> Location:
        """Address an object."""
        return Location("gs", "", bucket, key)


@contextmanager
def running(directory: Path, *options: str) -> Iterator[GcsServer]:
    """Run a server in an empty directory; later ``options`` win over the usual ones."""
    (port,) = free_ports(1)
    server = GcsServer(port)
    command = [
        server_command("fake-gcs-server") or "fake-gcs-server",
        *("-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
        *("-external-url", server.endpoint, "-public-host", f"127.0.0.1:{port}"),
        *options,
    ]
    with serving(command, lambda: _is_ready(server), directory=directory, environment={}):
        yield server


def _is_ready(server: GcsServer) -> bool:
    try:
        with urllib.request.urlopen(  # noqa: S310 - our own server
            f"{server.endpoint}/storage/v1/b?project=test", timeout=5
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """Run one server for the whole session; tests that use it are marked ``service("gcs")``."""
    if reason := absence("gcs"):
        pytest.skip(f"service gcs: {reason}")
    with running(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def gcs_bucket(gcs_server: GcsServer) -> str:
    """Return a new bucket."""
    return gcs_server.make_bucket()
