"""SeaweedFS: a real S3 server that checks signatures and what each key may do to which bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.process import Served, free_ports, serving
from tests.servers.s3 import S3Server, keys
from tests.services import absence, server_command

#: SeaweedFS serves gRPC at each port plus this.
_GRPC = 10_000
#: Volumes of a new bucket: the default of seven would soon use up the disk's share.
_MASTER = "[master.volume_growth]\ncopy_1 = 1\nthreshold = 0.9\n"

#: May do everything.
ADMIN = keys("admin")
#: May read, write and list buckets called ``alice-...``, and no other.
ALICE = keys("alice")
#: May read and list buckets called ``alice-...`` and ``public-...``, and write none.
READER = keys("reader")
#: Everybody, without any key, may read buckets of this prefix.
PUBLIC = "public"

_RIGHTS = {
    "alice": ["Read:alice-*", "Write:alice-*", "List:alice-*", "Tagging:alice-*"],
    "reader": ["Read:alice-*", "List:alice-*", "Read:public-*", "List:public-*"],
}


def _identities() -> dict[str, object]:
    def identity(name: str, actions: list[str]) -> dict[str, object]:
        own = keys(name)
        pair = {"accessKey": own.access_key, "secretKey": own.secret_key.reveal()}
        return {"name": name, "credentials": [pair], "actions": actions}

    return {
        "identities": [
            identity("admin", ["Admin", "Read", "Write", "List", "Tagging"]),
            *(identity(name, actions) for name, actions in _RIGHTS.items()),
            {"name": "anonymous", "actions": [f"Read:{PUBLIC}-*", f"List:{PUBLIC}-*"]},
        ]
    }


@contextmanager
def running(directory: Path, *options: str) -> Iterator[S3Server]:
    """Run a server in an empty directory; later ``options`` win over the usual ones."""
    with mortal(directory, *options) as (server, _):
        yield server


@contextmanager
def mortal(directory: Path, *options: str) -> Iterator[tuple[S3Server, Served]]:
    """Do the same, and yield what kills and begins it besides."""
    master, volume, filer, s3 = free_ports(4, beside=_GRPC)
    (directory / "identities.json").write_text(json.dumps(_identities()))
    (directory / "master.toml").write_text(_MASTER)
    data = directory / "data"
    data.mkdir()
    command = [
        server_command("weed") or "weed",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        "-volume.max=200",
        "-volume.minFreeSpace=1",
        "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",
        "-filer",
        f"-filer.port={filer}",
        f"-filer.localSocket={directory}/filer.sock",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory}/s3.sock",
        f"-s3.config={directory}/identities.json",
        *options,
    ]
    server = S3Server(s3, ADMIN)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory)}
    try:
        with serving(
            command, lambda: _is_ready(server), directory=directory, environment=environment
        ) as served:
            yield server, served
    finally:
        for port in (master, volume, filer, s3):  # it leaves them when killed
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port + _GRPC}.sock"):  # noqa: S108 - weed's own choice
                socket.unlink(missing_ok=True)


def _is_ready(server: S3Server) -> bool:
    """Tell whether a bucket can be made and an object stored in it; the port is open before."""
    try:
        made = server.request("PUT", "/ready")
        stored = server.request("PUT", "/ready/object", b"stored")
    except OSError:
        return False
    return (made.status, stored.status) in {(200, 200), (409, 200)}


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run one SeaweedFS for the whole session; tests that use it are marked ``service("s3")``."""
    if reason := absence("s3"):
        pytest.skip(f"service s3: {reason}")
    with running(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def seaweed_bucket(seaweed_server: S3Server) -> Iterator[str]:
    """Return a new bucket that only the admin may use."""
    with seaweed_server.bucket() as name:
        yield name


@pytest.fixture
def alice_bucket(seaweed_server: S3Server) -> Iterator[str]:
    """Return a new bucket that Alice may use and the reader may read."""
    with seaweed_server.bucket("alice") as name:
        yield name


@pytest.fixture
def public_bucket(seaweed_server: S3Server) -> Iterator[str]:
    """Return a new bucket that everybody may read."""
    with seaweed_server.bucket(PUBLIC) as name:
        yield name
