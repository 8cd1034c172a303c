"""A bucket as the client sees it: what is put there, and what comes back."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, TypeVar, cast

from anyio.from_thread import start_blocking_portal

from runner.archives.pack import Packed
from runner.archives.select import Selection
from runner.client.bucket import Bucket
from runner.client.calls import Calls
from runner.client.message import Submission, workspace_key
from runner.client.output_part import Take, give_all, give_part
from runner.client.ranged import Ranged
from runner.client.shop import (
    BROKEN,
    NOTHING,
    Added,
    add_files,
    pack_workspace,
    records,
)
from runner.client.telling import SILENT, Telling
from runner.errors import Misconfigured, StoreUnavailable
from runner.lifecycle.ownership.record import ClaimRecord, decode
from runner.lifecycle.runs.wanted import Wanted
from runner.model import Experiment, Location, Needs, Request
from runner.request.names import relative
from runner.stores.base import Conflict, NotFound, ObjectInfo, Store, StoreOptions
from runner.stores.pool import StorePool

T = TypeVar("T")

_PIECE = 1 << 20
#: Of a range: a header and the last lines of an output are less.
_BUFFER = 64 << 10
_MOST_RIVALS = 50


@dataclass(frozen=True, slots=True)
class RemoteShop:
    """The same as ``LocalShop``, over the network; used from any thread, and blocking."""

    #: Seconds between two looks at a claim.
    look_every: ClassVar[float] = 2.0

    place: Bucket
    _calls: Calls
    _pool: StorePool
    telling: Telling = SILENT

    def __str__(self) -> str:
        """Name the store."""
        return str(self.place)

    def put_workspace(
        self, directory: Path, selection: Selection, added: Added = NOTHING
    ) -> tuple[str, Packed]:
        """Pack a directory and store it below its own digest, unless it is there already."""
        with ExitStack() as opened:
            with _packing():
                file = tempfile.TemporaryFile()  # noqa: SIM115 - see _close
                opened.callback(_close, file)
                packed = pack_workspace(directory, selection, file, self.telling)
                add_files(cast("BinaryIO", file), added)
                size = file.tell()
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            location = self.place.location(workspace_key(digest))
            if self._size(location) == size:
                self.telling.note(f"the workspace is in {self.place} already")
            else:
                self._upload(file, size, location)
        return digest, packed

    def put_experiment(self, submission: Submission) -> None:
        """Write what the client writes besides the message, where there is a bucket for it."""
        if self.place.records:
            for name, body in records(submission).items():
                self._write(self.place.location(name, is_record=True), body)

    def forget(self, submission: Submission) -> None:
        """Remove that again, of an experiment that was not queued."""
        if self.place.records:
            for name in records(submission):
                location = self.place.location(name, is_record=True)
                self._calls.call(self._store(location).delete, location)

    def experiment(self, key: str) -> dict[str, Any] | None:
        """Return the record of an experiment."""
        if not self.place.records:
            return None
        body = self._read(self.place.location(f"experiments/{key}", is_record=True), _all)
        try:
            found = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def mark_stopped(self, key: str) -> bool:
        """Tell every runner that the experiment is not wanted; ``False`` for one that is over."""
        if not self.place.records:
            raise Misconfigured(
                f"{key} has no record that could say so: submit and cancel with --store-records"
            )
        found = self.experiment(key)
        if found is None or found.get("status") == "finished":
            return False
        found["status"] = "stopped"
        location = self.place.location(f"experiments/{key}", is_record=True)
        self._write(location, json.dumps(found).encode())
        return True

    def claim(self, key: str) -> ClaimRecord | None:
        """Return what the runners say of the experiment."""
        body = self._read(self.place.location(f"experiments/{key}/_claim.{key}.json"), _all)
        return decode(body) if body else None

    def output(self, key: str, wanted: Wanted, take: Take) -> bool:
        """Give a part of the stored output, and read no more; ``False``: nothing is stored yet."""
        location = self.place.location(f"experiments/{key}/output.tar")
        try:
            if wanted == Wanted():  # side by side, and with its checksum
                return self._read(location, lambda stream: give_all(stream, take)) or False
            return self._part(location, wanted, take)
        except BROKEN:
            return False

    def _part(self, location: Location, wanted: Wanted, take: Take) -> bool:
        store = self._store(location)
        for _ in range(_MOST_RIVALS):
            found = self._stat(location)
            if found is None:
                return False
            fetch = partial(store.slice, location, version=found.version)
            with suppress(Conflict, NotFound):  # a checkpoint has replaced it
                ranged = Ranged(int(found.size), partial(self._calls.call, fetch))
                with (
                    io.BufferedReader(ranged, _BUFFER) as stream,
                    tarfile.open(fileobj=stream, mode="r:") as archive,
                ):
                    return give_part(archive, wanted, take)
        raise StoreUnavailable(f"{location} is replaced by others all the time: try again")

    def output_version(self, key: str) -> str | None:
        """Return what changes with the stored output; ``None`` when nothing was stored yet."""
        found = self._stat(self.place.location(f"experiments/{key}/output.tar"))
        return None if found is None else found.version

    def read(self, name: str, consume: Callable[[BinaryIO], T]) -> T | None:
        """Stream an object of the artifacts' bucket; ``None`` when there is none."""
        return self._read(self.place.location(relative("the object", name)), consume)

    def amend(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Rewrite a small object, empty where there is none, whoever else does so meanwhile."""
        location = self.place.location(relative("the object", name))
        store = self._store(location)
        for _ in range(_MOST_RIVALS):
            found = self._stat(location)
            version = found.version if found else None
            with suppress(Conflict):
                read = partial(store.read, location, _all, version=version)
                before = self._calls.call(read) if found else b""
                self._calls.call(store.put_if, location, change(before), version)
                return
        raise StoreUnavailable(f"{location} is rewritten by others all the time: try again")

    def cut(self) -> None:
        """Have what other threads wait for raise Interrupted."""
        self._calls.cut()

    def _upload(self, file: BinaryIO, size: int, location: Location) -> None:
        with self.telling.progress("uploading the workspace") as meter:
            meter.expect(size)

            def produce(stream: BinaryIO) -> None:
                file.seek(0)
                while data := file.read(_PIECE):
                    stream.write(data)
                    meter.add(len(data))

            self._calls.call(self._store(location).write, location, produce)

    def _write(self, location: Location, body: bytes) -> None:
        def produce(stream: BinaryIO) -> None:
            stream.write(body)

        self._calls.call(self._store(location).write, location, produce)

    def _read(self, location: Location, consume: Callable[[BinaryIO], T]) -> T | None:
        try:
            return self._calls.call(self._store(location).read, location, consume)
        except NotFound:
            return None

    def _size(self, location: Location) -> int | None:
        found = self._stat(location)
        return None if found is None else int(found.size)

    def _stat(self, location: Location) -> ObjectInfo | None:
        try:
            return self._calls.call(self._store(location).stat, location)
        except NotFound:
            return None

    def _store(self, location: Location) -> Store:
        request = Request(Experiment("", ""), Needs(), {}, storage=self.place.config)
        return self._calls.call(
            partial(self._pool.store_for, location, request, queue_broker="local")
        )


@contextmanager
def remote_shop(
    place: Bucket, options: StoreOptions, telling: Telling = SILENT
) -> Iterator[RemoteShop]:
    """Open a bucket. Everything that fails raises what its store raises."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(StorePool(options)) as pool,
    ):
        yield RemoteShop(place, Calls(portal), pool, telling)


def _close(file: IO[bytes]) -> None:
    """Close a file, also one with bytes for which a full disk has no room."""
    with suppress(OSError):
        file.close()


@contextmanager
def _packing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"the workspace cannot be packed in the temporary directory: {error.strerror}; name "
            "another one with TMPDIR"
        ) from error


def _all(stream: BinaryIO) -> bytes:
    return stream.read()
