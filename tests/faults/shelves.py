"""The object stores that the harness hurts: each as a client and a fault see it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from tests.acceptance.box import Json
from tests.servers import seaweed
from tests.servers.process import Served
from tests.servers.s3 import S3Server


class Shelf(Protocol):
    """Where experiments' artifacts, results and claims lie."""

    name: str

    def dress(self, message: Json, workspace: Path) -> None:
        """Have a message's artifacts lie here, its ``workspace`` among them."""

    def object(self, key: str) -> bytes | None:
        """Return an object; ``None`` if there is none."""

    def names(self, prefix: str) -> list[str]:
        """Return the keys below a prefix that ends with ``/``."""

    def uploads(self) -> list[str]:
        """Name the uploads that were begun, and neither completed nor aborted."""

    def outage(self) -> AbstractContextManager[None]:
        """Have the store away for as long as the block takes; it keeps what it has."""


class LocalShelf:
    """A directory of this machine, in which messages lie already as the box makes them."""

    name = "local"

    def __init__(self, storage: Path) -> None:
        self._storage = storage

    def dress(self, message: Json, workspace: Path) -> None:
        """See ``Shelf``: nothing is to be done."""

    def object(self, key: str) -> bytes | None:
        """See ``Shelf``."""
        try:
            return (self._storage / key).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        """See ``Shelf``; here every file counts, drafts too."""
        return [f"{prefix}{file.name}" for file in (self._storage / prefix).glob("*")]

    def uploads(self) -> list[str]:
        """See ``Shelf``: drafts show among ``names``."""
        return []

    def outage(self) -> AbstractContextManager[None]:
        """See ``Shelf``: a directory is not away."""
        return nullcontext()


class S3Shelf:
    """A bucket of a server; in an outage the server is killed, and begins again with its data."""

    name = "s3"

    def __init__(self, server: S3Server, bucket: str, served: Served | None = None) -> None:
        self.server = server
        self.bucket = bucket
        self._served = served

    def dress(self, message: Json, workspace: Path) -> None:
        """See ``Shelf``."""
        artifacts = message["experiment"]["artifacts"]
        for artifact in artifacts.values():
            artifact["qualified"] = f"s3://{self.server.host}/{self.bucket}/{artifact['key']}"
        self.server.put(self.bucket, artifacts["workspace"]["key"], workspace.read_bytes())
        admin = self.server.admin
        keys = {"access_key": admin.access_key, "secret_access_key": admin.secret_key.reveal()}
        message["config"]["storage"] = {
            "type": "s3",
            "endpoint": self.server.endpoint,
            "bucket": self.bucket,
            "credentials": {"aws": keys},
        }

    def object(self, key: str) -> bytes | None:
        """See ``Shelf``. Raises OSError while it is away."""
        answer = self.server.request("GET", f"/{self.bucket}/{key}")
        if answer.status == _OK:
            return answer.body
        if answer.status == _NOT_FOUND:
            return None
        raise ConnectionError(f"{self.bucket}/{key}: {answer.status}")

    def names(self, prefix: str) -> list[str]:
        """See ``Shelf``."""
        wanted = urllib.parse.urlencode({"list-type": 2, "prefix": prefix})
        answer = self.server.request("GET", f"/{self.bucket}?{wanted}")
        return [found.decode() for found in re.findall(rb"<Key>([^<]*)</Key>", answer.body)]

    def uploads(self) -> list[str]:
        """See ``Shelf``."""
        return [f"{key} ({upload})" for key, upload in self.server.uploads(self.bucket)]

    @contextmanager
    def outage(self) -> Iterator[None]:
        """See ``Shelf``."""
        if self._served is None:
            raise NotImplementedError("this server is shared with others")
        with self._served.killed():
            yield


_OK, _NOT_FOUND = 200, 404


@contextmanager
def s3_shelf(directory: Path) -> Iterator[S3Shelf]:
    """Run a server in an empty directory, with one bucket."""
    with seaweed.mortal(directory) as (server, served), server.bucket() as bucket:
        yield S3Shelf(server, bucket, served)
