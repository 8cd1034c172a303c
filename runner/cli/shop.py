"""The local store as the client sees it: what is put there, and what comes back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.archives.pack import Packed, pack_directory
from runner.archives.select import Selection
from runner.cli.message import BUCKET, DATABASE, Submission, experiment, workspace_key
from runner.errors import Misconfigured
from runner.lifecycle.claim_record import ClaimRecord, decode


@dataclass(frozen=True, slots=True)
class LocalShop:
    """A directory with the buckets that the StudioML client makes."""

    root: Path

    def put_workspace(self, directory: Path, selection: Selection) -> tuple[str, Packed]:
        """Pack a directory below its own digest. Raises Misconfigured."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._blobs / f".{secrets.token_hex(8)}.part"
            try:
                with part.open("xb") as stream:
                    packed = pack_directory(directory, stream, keep=selection.keeps)
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
        objects = {
            f"experiments/{submission.key}": json.dumps(experiment(submission)),
            f"users/guest/experiments/{submission.key}": repr(submission.time_added),
        }
        if submission.project:
            objects[f"projects/{submission.project}/{submission.key}/owner"] = '"guest"'
        try:
            for name, body in objects.items():
                _write(self.root / DATABASE / name, body.encode())
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
                for member in archive:
                    content = archive.extractfile(member)
                    if content is not None and Path(member.name).name == "output":
                        return content.read().decode("utf-8", "replace")
        except (OSError, tarfile.TarError, EOFError):
            return None
        return None

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
