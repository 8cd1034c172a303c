"""A store of the product, a real server, and between the two a proxy that does what it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from runner.model import Credentials, Location
from runner.stores import STORES
from runner.stores.base import Account, StoreOptions
from runner.stores.remote.retrying import Plan
from runner.stores.remote.store import RemoteStore
from tests.servers.proxy import Exchange, Proxy
from tests.servers.s3 import S3Server

MIB = 1 << 20
#: Several parts of every backend's, the last one short.
LARGE = 40 * MIB + 12_345
#: The backends that speak S3.
BACKENDS = ("minio", "s3")
#: Tries again at once, and gives up soon.
PLAN = Plan(first=0.01, longest=0.05, patience=1.0)
#: For what succeeds in the end, however busy the machine is.
PATIENT = Plan(first=0.01, longest=0.05, patience=60.0)


@dataclass(frozen=True)
class Stage:
    """One bucket as the product sees it, and as it is."""

    backend: str
    server: S3Server
    proxy: Proxy
    bucket: str
    options: StoreOptions = field(default_factory=StoreOptions)

    @property
    def seen(self) -> S3Server:
        """Return the server as it is reached through the proxy."""
        return S3Server(self.proxy.port, self.server.admin, self.server.region)

    def location(self, key: str) -> Location:
        """Address an object through the proxy."""
        return self.seen.location(self.bucket, key)

    def store(
        self, by: Credentials | None = None, *, endpoint: str = "", plan: Plan = PLAN
    ) -> RemoteStore:
        """Make a store, not yet opened, that is as patient as ``plan``."""
        kind = cast("type[RemoteStore]", STORES.load(self.backend))
        impatient = cast("type[RemoteStore]", type(kind.__name__, (kind,), {"plan": plan}))
        account = Account(
            self.backend,
            endpoint or self.proxy.url,
            self.server.region,
            self.server.admin if by is None else by,
        )
        return impatient.for_account(account, self.options)

    def leftovers(self) -> list[object]:
        """Return the uploads that are still open, and objects with other names than ``key``."""
        keys = [key for key in self.server.keys(self.bucket) if key != "key"]
        return [*self.server.uploads(self.bucket), *keys]

    def parts_sent(self) -> dict[str, list[Exchange]]:
        """Return what was tried for each part, by its number."""
        found: dict[str, list[Exchange]] = {}
        for one in self.proxy.asked("PUT", "partNumber="):
            number = one.target.partition("partNumber=")[2].partition("&")[0]
            found.setdefault(number, []).append(one)
        return found


@contextmanager
def staged(backend: str, server: S3Server) -> Iterator[Stage]:
    """Have a fresh bucket behind a proxy."""
    with server.bucket() as bucket, Proxy(("127.0.0.1", server.port)) as proxy:
        yield Stage(backend, server, proxy, bucket)


def content(size: int, seed: int = 0) -> bytes:
    """Return bytes of which no two parts are the same."""
    block = hashlib.shake_256(b"%d" % seed).digest(1 << 16)
    pieces = (number.to_bytes(8, "big") + block[8:] for number in range(-(-size // len(block))))
    return b"".join(pieces)[:size]


def everything(stream: BinaryIO) -> bytes:
    """Consume a stream in pieces, as archives are read."""
    return b"".join(iter(lambda: stream.read(MIB), b""))


class Producer:
    """Writes a body in pieces."""

    def __init__(self, body: bytes, *, piece: int = MIB) -> None:
        self._body = body
        self._piece = piece

    def __call__(self, stream: BinaryIO) -> None:
        """Write all of it."""
        places = range(0, len(self._body), self._piece)
        stream.writelines(self._body[place : place + self._piece] for place in places)
