"""Who moves objects between a server and files: ours, and the SDKs that people use instead."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from runner.model import Location
from runner.stores import STORES
from runner.stores.base import Account, Store, StoreOptions
from tests.servers.s3 import S3Server

PIECE = 1 << 20
#: Artifacts of one experiment that are moved side by side, by everybody here.
AT_ONCE = 4

Pairs = Sequence[tuple[str, Path]]
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a benchmark works."""

    server: S3Server
    bucket: str
    #: Empty, for files.
    folder: Path


class Contender(ABC):
    """Moves objects of one bucket."""

    name: str

    def __init__(self, place: Place) -> None:
        self.server = place.server
        self.bucket = place.bucket

    def close(self) -> None:  # noqa: B027 - most keep nothing open
        """End what is kept open between the transfers."""

    @abstractmethod
    def down(self, key: str, file: Path) -> None:
        """Fetch an object into a file, and compare its checksum with the store's."""

    @abstractmethod
    def up(self, file: Path, key: str) -> None:
        """Store a file, and compute its checksum."""

    def many_down(self, pairs: Pairs) -> None:
        """Fetch small objects, ``AT_ONCE`` side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda pair: self.down(*pair), pairs))

    def many_up(self, pairs: Pairs) -> None:
        """Store small files, ``AT_ONCE`` side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda pair: self.up(pair[1], pair[0]), pairs))


class Rival(Contender):
    """An SDK by itself; what it moved is read again for the checksum that ours computes, too."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        server = place.server
        self.open(server.admin.access_key, server.admin.secret_key.reveal())

    @abstractmethod
    def open(self, access: str, secret: str) -> None:
        """Make the client."""

    @abstractmethod
    def get(self, key: str, file: Path) -> None:
        """Fetch."""

    @abstractmethod
    def put(self, file: Path, key: str) -> None:
        """Store."""

    def down(self, key: str, file: Path) -> None:
        """Fetch, then compute the checksum."""
        self.get(key, file)
        md5(file)

    def up(self, file: Path, key: str) -> None:
        """Store, then compute the checksum."""
        self.put(file, key)
        md5(file)


class Boto3(Rival):
    """boto3's transfer manager as it comes."""

    name = "boto3"

    def config(self) -> Any:
        """Return the settings of its transfers."""
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - an SDK, late

        return TransferConfig()

    def open(self, access: str, secret: str) -> None:
        """Make the client."""
        import boto3.session  # noqa: PLC0415 - an SDK, late
        from botocore.config import Config  # noqa: PLC0415 - likewise

        self._config = self.config()
        self._client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name=self.server.region,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=32),
        )

    def get(self, key: str, file: Path) -> None:
        """Fetch."""
        self._client.download_file(self.bucket, key, str(file), Config=self._config)

    def put(self, file: Path, key: str) -> None:
        """Store."""
        self._client.upload_file(str(file), self.bucket, key, Config=self._config)


class Boto3Tuned(Boto3):
    """The same with the part size and concurrency that were the fastest of those tried here."""

    name = "boto3, tuned"

    def config(self) -> Any:
        """Return the settings of its transfers."""
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - an SDK, late

        return TransferConfig(
            multipart_threshold=16 << 20,
            multipart_chunksize=32 << 20,
            max_concurrency=4,
            io_chunksize=1 << 20,
        )


class Minio(Rival):
    """The minio SDK's ``fget_object`` and ``fput_object``."""

    name = "minio"

    def open(self, access: str, secret: str) -> None:
        """Make the client."""
        import minio  # noqa: PLC0415 - an SDK, late

        self._client = minio.Minio(
            self.server.host, access, secret, secure=False, region=self.server.region
        )

    def get(self, key: str, file: Path) -> None:
        """Fetch."""
        self._client.fget_object(self.bucket, key, str(file))

    def put(self, file: Path, key: str) -> None:
        """Store."""
        self._client.fput_object(self.bucket, key, str(file))


class Obstore(Rival):
    """obstore: Rust, one stream down, parts side by side up."""

    name = "obstore"

    def open(self, access: str, secret: str) -> None:
        """Make the client."""
        from obstore.store import S3Store  # noqa: PLC0415 - an SDK, late

        self._store = S3Store(
            self.bucket,
            endpoint=self.server.endpoint,
            region=self.server.region,
            access_key_id=access,
            secret_access_key=secret,
            client_options={"allow_http": True},
        )

    def get(self, key: str, file: Path) -> None:
        """Fetch."""
        import obstore  # noqa: PLC0415 - an SDK, late

        with file.open("wb", buffering=0) as out:
            for piece in obstore.get(self._store, key).stream(min_chunk_size=PIECE):
                out.write(piece)

    def put(self, file: Path, key: str) -> None:
        """Store."""
        import obstore  # noqa: PLC0415 - an SDK, late

        obstore.put(self._store, key, file)


class Ours(Contender):
    """A store of the runner, as experiments use it: verified while it streams.

    It stays open, as it does in the daemon and as the SDKs' clients do.
    """

    #: Registry name of the backend.
    backend = ""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        server = place.server
        kind: type[Store] = STORES.load(self.backend)
        account = Account(self.backend, server.endpoint, server.region, server.admin)
        store = kind.for_account(account, StoreOptions())
        with ExitStack() as opening:
            self._portal = opening.enter_context(start_blocking_portal())
            self.store = opening.enter_context(self._portal.wrap_async_context_manager(store))
            self._open = opening.pop_all()

    def close(self) -> None:
        """Close the store."""
        self._open.close()

    def run(self, act: Callable[..., Awaitable[T]], *words: object) -> T:
        """Run it where the store lives."""
        return self._portal.call(act, *words)

    def down(self, key: str, file: Path) -> None:
        """Fetch."""
        self.run(self._down, key, file)

    def up(self, file: Path, key: str) -> None:
        """Store."""
        self.run(self._up, key, file)

    def many_down(self, pairs: Pairs) -> None:
        """Fetch side by side, as the daemon does."""
        self.run(self._many, self._down, pairs)

    def many_up(self, pairs: Pairs) -> None:
        """Store side by side, as the daemon does."""
        self.run(self._many, self._up, pairs)

    async def _many(self, act: Callable[..., Any], pairs: Pairs) -> None:
        room = anyio.Semaphore(AT_ONCE)

        async def one(key: str, file: Path) -> None:
            async with room:
                await act(key, file)

        async with anyio.create_task_group() as group:
            for pair in pairs:
                group.start_soon(one, *pair)

    async def _down(self, key: str, file: Path) -> None:
        await self.store.read(self._location(key), lambda stream: into_file(stream, file))

    async def _up(self, key: str, file: Path) -> None:
        await self.store.write(self._location(key), lambda stream: from_file(stream, file))

    def _location(self, key: str) -> Location:
        return self.server.location(self.bucket, key)


class OursMinio(Ours):
    """The backend for everything but Amazon."""

    name = "ours (minio)"
    backend = "minio"


class OursBoto3(Ours):
    """The backend for Amazon."""

    name = "ours (boto3)"
    backend = "s3"


ALL: tuple[type[Contender], ...] = (OursMinio, OursBoto3, Boto3, Boto3Tuned, Minio, Obstore)


@contextmanager
def all_contenders(place: Place) -> Iterator[list[Contender]]:
    """Return one of each."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(kind(place))) for kind in ALL]


#: What the goals of the project are measured against; obstore stands beside it.
RIVALS = frozenset({Boto3.name, Boto3Tuned.name, Minio.name})


def md5(file: Path) -> str:
    """Return the digest of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb", buffering=0) as opened:
        buffer = bytearray(PIECE)
        while count := opened.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


def into_file(stream: BinaryIO, file: Path) -> None:
    """Write all of a stream to a file."""
    with file.open("wb", buffering=0) as out:
        while piece := stream.read(PIECE):
            out.write(piece)


def from_file(stream: BinaryIO, file: Path) -> None:
    """Write all of a file to a stream."""
    with file.open("rb", buffering=0) as opened:
        while piece := opened.read(PIECE):
            stream.write(piece)
