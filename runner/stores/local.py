"""Objects as files below directories that the operator named: the store behind ``file://``."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from runner.blocking import Limit, Stop, call
from runner.errors import OutOfDisk, RunnerError, StoreUnavailable
from runner.model import Bytes, Location
from runner.stores.base import (
    AccessDenied,
    Account,
    Conflict,
    Entry,
    Listing,
    NotFound,
    ObjectInfo,
    Store,
    StoreOptions,
    overtaken,
    unasked,
)
from runner.stores.boundary import Spot, find, open_directory, open_file, parent_of
from runner.stores.lock import locked
from runner.stores.part import Part
from runner.stores.streams import GuardedStream

T = TypeVar("T")

_DENIED = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG), AccessDenied
)
_READING: Mapping[int, type[RunnerError]] = _DENIED | {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.EISDIR: NotFound,
    errno.ENXIO: NotFound,
    errno.ENAMETOOLONG: NotFound,
}
_WRITING: Mapping[int, type[RunnerError]] = _DENIED | {
    errno.ENOTDIR: AccessDenied,
    errno.EISDIR: AccessDenied,
    errno.EFBIG: OutOfDisk,
    errno.ENOSPC: OutOfDisk,
    errno.EDQUOT: OutOfDisk,
}


@contextlib.contextmanager
def _translated(location: Location, table: Mapping[int, type[RunnerError]]) -> Iterator[None]:
    """Turn what the system says into what the seam promises; unknown trouble is the store's."""
    try:
        yield
    except OSError as error:
        kind = table.get(error.errno or 0, StoreUnavailable)
        raise kind(f"{location}: {error.strerror or error}") from error


class LocalStore(Store):
    """Files inside ``roots``; none means that every ``file://`` location is AccessDenied.

    Conditional writes are exact between all processes of this machine, and across NFS as far as
    its locks are. A client that rewrites a file in place is noticed by its times and size.
    """

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots
        # Claim records must not wait behind uploads.
        self._transfers = Limit(8)
        self._records = Limit(4)

    @classmethod
    def for_account(cls, account: Account, options: StoreOptions) -> Self:
        """Make the store of the operator's directories; there is only one account."""
        del account
        return cls(options.local_roots)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing stays open between two calls."""

    async def stat(self, location: Location) -> ObjectInfo:
        """Describe an object."""

        def look(_: Stop) -> ObjectInfo:
            with self._opened(location) as file:
                return _info(os.fstat(file.fileno()))

        return await call(look, limit=self._records)

    async def read(
        self,
        location: Location,
        consume: Callable[[BinaryIO], T],
        *,
        version: str | None = None,
    ) -> T:
        """Stream an object; one that is replaced meanwhile is read to its own end."""

        def run(stop: Stop) -> T:
            with self._opened(location) as file, self._guarded(file, stop, location) as stream:
                if version not in {None, _info(os.fstat(file.fileno())).version}:
                    raise Conflict(f"{location} was replaced since it was looked at")
                return consume(stream)

        return await call(run, limit=self._transfers)

    async def write(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        *,
        permitted: Callable[[], None] = unasked,
    ) -> ObjectInfo:
        """Store what ``produce`` writes, without a name until all of it is on the disk."""

        def run(stop: Stop) -> ObjectInfo:
            return self._replace(location, produce, stop, permitted=permitted)

        return await call(run, limit=self._transfers)

    async def put_if(
        self, location: Location, body: bytes, version: str | None, *, durable: bool = True
    ) -> ObjectInfo:
        """Store ``body`` if the object's version is ``version``; ``None``: if there is none."""

        def compare(found: ObjectInfo | None) -> None:
            if (found and found.version) != version:
                state = "was changed by somebody else" if found else "does not exist any more"
                raise Conflict(f"{location} {'exists already' if version is None else state}")

        def produce(stream: BinaryIO) -> None:
            stream.write(body)

        def run(stop: Stop) -> ObjectInfo:
            return self._replace(location, produce, stop, compare, durable=durable)

        return await call(run, limit=self._records)

    async def delete(self, location: Location) -> None:
        """Remove an object, or the link that stands for one."""

        def run(stop: Stop) -> None:
            spot = find(location, self._roots, follow=False)
            with (
                _translated(location, _WRITING),
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                parent_of(spot) as parent,
                locked(parent, stop.check),
            ):
                os.unlink(spot.name, dir_fd=parent)

        await call(run, limit=self._records)

    async def folder(self, location: Location) -> Listing:
        """List the files of a directory; its file system's clock is taken for this machine's."""

        def look(stop: Stop) -> Listing:
            spot = find(location, self._roots)
            with _translated(location, _READING), contextlib.ExitStack() as stack:
                try:
                    parent = stack.enter_context(parent_of(spot))
                    here = open_directory(parent, spot.name)
                except FileNotFoundError:
                    return Listing(())
                stack.callback(os.close, here)
                return Listing(tuple(_entries(location, here, stop)))

        return await call(look, limit=self._records)

    @contextlib.contextmanager
    def _opened(self, location: Location) -> Iterator[BinaryIO]:
        spot = find(location, self._roots)
        with _translated(location, _READING), parent_of(spot) as parent:
            descriptor = open_file(parent, spot.name)
        with os.fdopen(descriptor, "rb", buffering=1 << 18) as file:
            yield file

    @staticmethod
    def _guarded(file: BinaryIO, stop: Stop, location: Location) -> BinaryIO:
        table = _WRITING if file.writable() else _READING
        stream = GuardedStream(file, stop, lambda: _translated(location, table))
        return cast("BinaryIO", stream)

    def _replace(
        self,
        location: Location,
        produce: Callable[[BinaryIO], None],
        stop: Stop,
        compare: Callable[[ObjectInfo | None], None] = lambda _: None,
        *,
        permitted: Callable[[], None] = unasked,
        durable: bool = True,
    ) -> ObjectInfo:
        spot = find(location, self._roots)
        with contextlib.ExitStack() as stack:
            with _translated(location, _WRITING):
                parent = stack.enter_context(parent_of(spot, create=True))
                part = stack.enter_context(Part(parent, spot.name))
            produce(self._guarded(part.stream, stop, location))
            with _translated(location, _WRITING):
                part.settle(durable=durable)
                known = _version(_current(parent, spot))
            # Without the lock: the answer may take a write of the claim record, in this directory.
            permitted()
            with _translated(location, _WRITING):
                with locked(parent, stop.check):
                    before = _current(parent, spot)
                    compare(before and _info(before))
                    if permitted is not unasked and _version(before) != known:
                        raise overtaken(location)
                    after = part.publish(before.st_mtime_ns if before else 0)
                if durable:
                    os.fsync(parent)
            return _info(after)


def _entries(folder: Location, here: int, stop: Stop) -> Iterator[Entry]:
    """Yield the finished files: what is being written has a hidden name, if any."""
    with os.scandir(here) as found:
        for one in found:
            stop.check()
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                state = one.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode) and not one.name.startswith("."):
                    place = replace(folder, key=f"{folder.key}/{one.name}")
                    yield Entry(place, Bytes(state.st_size), state.st_mtime)


def _current(parent: int, spot: Spot) -> os.stat_result | None:
    try:
        return os.stat(spot.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _version(state: os.stat_result | None) -> str | None:
    return None if state is None else _info(state).version


def _info(state: os.stat_result) -> ObjectInfo:
    # The time of the last change of any kind as well: no writer can set it back.
    stamps = (state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_size)
    version = "-".join(f"{stamp:x}" for stamp in stamps)
    return ObjectInfo(Bytes(state.st_size), version)
