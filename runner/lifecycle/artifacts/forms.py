"""In which form an artifact is stored so that the client can read it back (design 5.12)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from runner.archives.compression import Compression, compression_for
from runner.archives.pack import Packed, Placing, pack_directory, pack_single
from runner.errors import ArtifactBad
from runner.lifecycle.artifacts.notes import Note
from runner.lifecycle.artifacts.regular import open_regular
from runner.lifecycle.artifacts.storing import Pack
from runner.model import Artifact, Bytes, Location, StoreConfig

OUTPUT, RETVAL, METADATA, IMAGE = "output", "retval", "_metadata", "_singularity"
WORKSPACE = "workspace"

#: The client expects one file under these labels, whoever wrote it.
_ONE_FILE = frozenset({OUTPUT, RETVAL, "_metrics"})
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """How an object is written."""

    pack: Pack
    #: The directory that becomes a plain archive, of which parts may be stored already.
    directory: Path | None = None


def form_of(artifact: Artifact, directory: Path, note: Note) -> Form:
    """Choose how the artifact's object is written. Raises ArtifactBad.

    The single member ``./name`` is for what the client takes for one file; anything else would
    become a file in its hands where it wants a directory.
    """
    entries = list(directory.iterdir())
    only = entries[0] if len(entries) == 1 and _is_file(entries[0]) else None
    if not artifact.unpack:
        if only is None:
            raise ArtifactBad(
                f"it is stored as one plain file (unpack: false), but {len(entries)} entries lie "
                "in its directory: leave one file there"
            )
        return plain(only)
    compression = compression_for(artifact.location.key)
    if only is not None and (artifact.label in _ONE_FILE or note.single):
        return Form(lambda stream, _: pack_single(only, stream, compression=compression))

    def pack(stream: BinaryIO, placing: Placing | None) -> Packed:
        return pack_directory(directory, stream, compression=compression, placing=placing)

    return Form(pack, directory if compression is Compression.NONE else None)


def plain(path: Path) -> Form:
    """Write a file as it is, and no more of it than there was when that began."""

    def pack(stream: BinaryIO, _: Placing | None) -> Packed:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            left = size = os.fstat(file.fileno()).st_size
            while left and (data := file.read(min(left, _CHUNK))):
                stream.write(data)
                left -= len(data)
        return Packed(Bytes(size - left), 1)

    return Form(pack)


def metadata_location(artifact: Artifact, storage: StoreConfig, name: str) -> Location:
    """Return where a metadata file lies: ``metadata/<name>`` in the artifact's bucket.

    Files have no bucket: the client's storage directory stands for it where the request names one,
    else the artifact's own directory.
    """
    location = artifact.location
    if location.scheme != "file":
        return replace(location, key=f"metadata/{name}")
    root = location.key.rpartition("/")[0]
    if storage.type == "local" and storage.endpoint.startswith("/"):
        root = "/".join(filter(None, (storage.endpoint.rstrip("/"), storage.bucket)))
    return replace(location, key=f"{root}/metadata/{name}")


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
