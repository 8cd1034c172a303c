"""A store as the client sees it: what is put there, and what comes back; the local one."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import secrets
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar, cast

from runner.archives.pack import Packed, pack_directory
from runner.archives.select import Selection
from runner.client.bucket import Bucket
from runner.client.message import BUCKET, DATABASE, Submission, experiment, workspace_key
from runner.client.output_part import Take, give_part
from runner.client.telling import SILENT, Progress, Telling
from runner.errors import BadField, Misconfigured, StoreUnavailable
from runner.lifecycle.ownership.record import ClaimRecord, decode
from runner.lifecycle.runs.wanted import Wanted
from runner.request.names import component, relative
from runner.stores.lock import locked

T = TypeVar("T")

#: What a broken archive, or one of something else, raises.
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)

Added = Mapping[str, bytes]
"""Files of a workspace that are not in its directory, by name."""
NOTHING: Added = {}


class Shop(Protocol):
    """What the commands do with a store; ``str`` names it."""

    #: Seconds between two looks at a claim.
    look_every: ClassVar[float]

    @property
    def place(self) -> Path | Bucket:
        """What messages tell runners of it."""

    def put_workspace(
        self, directory: Path, selection: Selection, added: Added = NOTHING
    ) -> tuple[str, Packed]:
        """Pack a directory below its own digest. Raises Misconfigured."""

    def put_experiment(self, submission: Submission) -> None:
        """Write what the client writes besides the message. Raises Misconfigured."""

    def forget(self, submission: Submission) -> None:
        """Remove that again, of an experiment that was not queued."""

    def experiment(self, key: str) -> dict[str, Any] | None:
        """Return the database's object of an experiment."""

    def mark_stopped(self, key: str) -> bool:
        """Tell every runner that the experiment is not wanted; ``False`` for one that is over."""

    def claim(self, key: str) -> ClaimRecord | None:
        """Return what the runners say of the experiment."""

    def output(self, key: str, wanted: Wanted, take: Take) -> bool:
        """Give a part of the stored output, and read no more; ``False``: nothing is stored yet.

        Where a checkpoint replaces it meanwhile, ``take`` is called once more.
        """

    def output_version(self, key: str) -> str | None:
        """Return what changes with the stored output; ``None`` when nothing was stored yet."""

    def read(self, name: str, consume: Callable[[BinaryIO], T]) -> T | None:
        """Stream an object of the artifacts' bucket; ``None`` when there is none."""

    def amend(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Rewrite a small object, empty where there is none, whoever else does so meanwhile."""

    def cut(self) -> None:
        """Have what other threads wait for raise Interrupted; of a directory nobody waits long."""


@dataclass(frozen=True, slots=True)
class LocalShop:
    """A directory with the buckets that the StudioML client makes."""

    look_every: ClassVar[float] = 0.2

    root: Path
    telling: Telling = SILENT

    def __str__(self) -> str:
        """Name the store."""
        return str(self.root)

    @property
    def place(self) -> Path:
        """What messages tell runners of it."""
        return self.root

    def put_workspace(
        self, directory: Path, selection: Selection, added: Added = NOTHING
    ) -> tuple[str, Packed]:
        """Pack a directory below its own digest. Raises Misconfigured."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._blobs / f".{secrets.token_hex(8)}.part"
            try:
                with part.open("x+b") as stream:
                    packed = pack_workspace(directory, selection, stream, self.telling)
                    add_files(stream, added)
                    _to_disk(stream.fileno())
                with part.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                part.replace(self.root / BUCKET / workspace_key(digest))
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        return digest, packed

    def put_experiment(self, submission: Submission) -> None:
        """Write what the client writes besides the message. Raises Misconfigured."""
        try:
            for name, body in records(submission).items():
                _write(self.root / DATABASE / name, body)
        except OSError as error:
            raise self._unusable(error) from error

    def forget(self, submission: Submission) -> None:
        """Remove that again, of an experiment that was not queued."""
        try:
            for name in records(submission):
                (self.root / DATABASE / name).unlink(missing_ok=True)
            if submission.project:  # whose experiments are told by their directories
                (self.root / DATABASE / name).parent.rmdir()
        except OSError as error:
            raise self._unusable(error) from error

    def experiment(self, key: str) -> dict[str, Any] | None:
        """Return the database's object of an experiment."""
        try:
            place = self.root / DATABASE / "experiments" / component("KEY", key)
            found = json.loads(place.read_bytes())
        except (OSError, ValueError, RecursionError, BadField):
            return None
        return found if isinstance(found, dict) else None

    def mark_stopped(self, key: str) -> bool:
        """Tell every runner that the experiment is not wanted; ``False`` for one that is over."""
        found = self.experiment(key)
        if found is None or found.get("status") == "finished":
            return False
        found["status"] = "stopped"
        _write(self.root / DATABASE / "experiments" / key, json.dumps(found).encode())
        return True

    def claim(self, key: str) -> ClaimRecord | None:
        """Return what the runners say of the experiment."""
        try:
            return decode((self._artifacts(key) / f"_claim.{key}.json").read_bytes())
        except (OSError, BadField):
            return None

    def output(self, key: str, wanted: Wanted, take: Take) -> bool:
        """Give a part of the stored output, and read no more; ``False``: nothing is stored yet."""
        try:
            stream = (self._artifacts(key) / "output.tar").open("rb")
        except (OSError, BadField):
            return False
        try:
            with stream, tarfile.open(fileobj=stream) as archive:
                return give_part(archive, wanted, take)
        except BROKEN:
            return False

    def output_version(self, key: str) -> str | None:
        """Return what changes with the stored output; ``None`` when nothing was stored yet."""
        try:
            found = (self._artifacts(key) / "output.tar").stat()
        except (OSError, BadField):
            return None
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"

    def read(self, name: str, consume: Callable[[BinaryIO], T]) -> T | None:
        """Stream an object of the artifacts' bucket; ``None`` when there is none."""
        try:
            stream = self._object(name).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreUnavailable(f"{name} in {self.root}: {error.strerror}") from error
        with stream:
            return consume(stream)

    def amend(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Rewrite a small object, empty where there is none, whoever else does so meanwhile."""
        path = self._object(name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with locked(directory, _never):
                    before = path.read_bytes() if path.exists() else b""
                    _write(path, change(before))
            finally:
                os.close(directory)
        except OSError as error:
            raise self._unusable(error) from error

    def cut(self) -> None:
        """Let them: a file system cannot be interrupted."""

    @property
    def _blobs(self) -> Path:
        path = (self.root / BUCKET / workspace_key("x")).parent
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _artifacts(self, key: str) -> Path:
        return self.root / BUCKET / "experiments" / component("KEY", key)

    def _object(self, name: str) -> Path:
        """Return where an object lies, of a name that a record or a message may have made up."""
        if name.startswith("/"):
            raise BadField("the object", name, "write a name that does not begin with a slash")
        return self.root / BUCKET / relative("the object", name)

    def _unusable(self, error: OSError) -> Misconfigured:
        why = error.strerror or str(error)
        return Misconfigured(f"the store {self.root} cannot be written to: {why}")


def pack_workspace(
    directory: Path, selection: Selection, file: BinaryIO, telling: Telling
) -> Packed:
    """Pack what was selected, showing how far it has come."""
    with telling.progress("packing the workspace") as meter:
        meter.expect(selection.bytes)
        return pack_directory(
            directory, cast("BinaryIO", _Metered(file, meter)), keep=selection.keeps
        )


def add_files(file: BinaryIO, added: Added) -> None:
    """Put files into a packed workspace that are not in its directory."""
    if not added:
        return
    file.seek(0)
    with tarfile.open(fileobj=file, mode="a") as archive:
        for name, body in added.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(body), 0o644
            archive.addfile(member, io.BytesIO(body))
    file.seek(0, os.SEEK_END)


def records(submission: Submission) -> dict[str, bytes]:
    """Return the objects of the client's database for a submission."""
    objects = {
        f"experiments/{submission.key}": json.dumps(experiment(submission)),
        f"users/guest/experiments/{submission.key}": repr(submission.time_added),
    }
    if submission.project:
        objects[f"projects/{submission.project}/{submission.key}/owner"] = '"guest"'
    return {name: text.encode() for name, text in objects.items()}


class _Metered:
    """A file whose growth is shown."""

    def __init__(self, file: BinaryIO, meter: Progress) -> None:
        self._file = file
        self._meter = meter

    def write(self, data: bytes) -> int:
        """Write, and tell."""
        self._meter.add(len(data))
        return self._file.write(data)


def _write(path: Path, body: bytes) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(body)
            stream.flush()
            _to_disk(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _never() -> None:
    """Wait on."""


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
