"""A store as the client sees it: what is put there, and what comes back; the local one."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, cast

from runner.archives.pack import Packed, pack_directory
from runner.archives.select import Selection
from runner.cli.bucket import Bucket
from runner.cli.message import BUCKET, DATABASE, Submission, experiment, workspace_key
from runner.cli.meter import Meter
from runner.errors import Misconfigured
from runner.lifecycle.ownership.record import ClaimRecord, decode


class Shop(Protocol):
    """What the commands do with a store; ``str`` names it."""

    #: Seconds between two looks at a claim.
    look_every: ClassVar[float]

    @property
    def place(self) -> Path | Bucket:
        """What messages tell runners of it."""

    def put_workspace(self, directory: Path, selection: Selection) -> tuple[str, Packed]:
        """Pack a directory below its own digest. Raises Misconfigured."""

    def put_experiment(self, submission: Submission) -> None:
        """Write what the client writes besides the message. Raises Misconfigured."""

    def experiment(self, key: str) -> dict[str, Any] | None:
        """Return the database's object of an experiment."""

    def mark_stopped(self, key: str) -> bool:
        """Tell every runner that the experiment is not wanted; ``False`` for one that is over."""

    def claim(self, key: str) -> ClaimRecord | None:
        """Return what the runners say of the experiment."""

    def output(self, key: str) -> str | None:
        """Return the stored output; ``None`` when nothing was stored yet."""

    def output_version(self, key: str) -> str | None:
        """Return what changes with the stored output; ``None`` when nothing was stored yet."""


@dataclass(frozen=True, slots=True)
class LocalShop:
    """A directory with the buckets that the StudioML client makes."""

    look_every: ClassVar[float] = 0.2

    root: Path

    def __str__(self) -> str:
        """Name the store."""
        return str(self.root)

    @property
    def place(self) -> Path:
        """What messages tell runners of it."""
        return self.root

    def put_workspace(self, directory: Path, selection: Selection) -> tuple[str, Packed]:
        """Pack a directory below its own digest. Raises Misconfigured."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._blobs / f".{secrets.token_hex(8)}.part"
            try:
                with part.open("xb") as stream:
                    packed = pack_workspace(directory, selection, stream)
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

    def experiment(self, key: str) -> dict[str, Any] | None:
        """Return the database's object of an experiment."""
        try:
            found = json.loads((self.root / DATABASE / "experiments" / key).read_bytes())
        except (OSError, ValueError):
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
        except OSError:
            return None

    def output(self, key: str) -> str | None:
        """Return the stored output; ``None`` when nothing was stored yet."""
        try:
            with tarfile.open(self._artifacts(key) / "output.tar") as archive:
                return output_in(archive)
        except (OSError, tarfile.TarError, EOFError):
            return None

    def output_version(self, key: str) -> str | None:
        """Return what changes with the stored output; ``None`` when nothing was stored yet."""
        try:
            found = (self._artifacts(key) / "output.tar").stat()
        except OSError:
            return None
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"

    @property
    def _blobs(self) -> Path:
        path = (self.root / BUCKET / workspace_key("x")).parent
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _artifacts(self, key: str) -> Path:
        return self.root / BUCKET / "experiments" / key

    def _unusable(self, error: OSError) -> Misconfigured:
        why = error.strerror or str(error)
        return Misconfigured(f"the store {self.root} cannot be written to: {why}")


def pack_workspace(directory: Path, selection: Selection, file: BinaryIO) -> Packed:
    """Pack what was selected, showing how far it has come."""
    with Meter("packing the workspace") as meter:
        meter.expect(selection.bytes)
        return pack_directory(
            directory, cast("BinaryIO", _Metered(file, meter)), keep=selection.keeps
        )


def records(submission: Submission) -> dict[str, bytes]:
    """Return the objects of the client's database for a submission."""
    objects = {
        f"experiments/{submission.key}": json.dumps(experiment(submission)),
        f"users/guest/experiments/{submission.key}": repr(submission.time_added),
    }
    if submission.project:
        objects[f"projects/{submission.project}/{submission.key}/owner"] = '"guest"'
    return {name: text.encode() for name, text in objects.items()}


def output_in(archive: tarfile.TarFile) -> str | None:
    """Return the output that an archive holds."""
    for member in archive:
        content = archive.extractfile(member)
        if content is not None and Path(member.name).name == "output":
            return content.read().decode("utf-8", "replace")
    return None


class _Metered:
    """A file whose growth is shown."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
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


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)
