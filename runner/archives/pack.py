"""Artifacts on their way out: a directory or one file as a tar archive."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runner.archives.compression import Compression, compressed
from runner.archives.extents import extents, has_holes, worth_storing
from runner.archives.layout import Placed
from runner.archives.links import portable_target
from runner.archives.members import LATEST, ZERO, shown
from runner.archives.sparse import sparse_head
from runner.archives.stamps import seen
from runner.archives.stopping import Check, check_of
from runner.archives.walk import Entry, open_in_place, walk
from runner.errors import HostFault
from runner.model import Bytes, Span

_PIECE = 1 << 18
_BLOCK = tarfile.BLOCKSIZE
#: Between the look and the opening it vanished or became something else.
_REPLACED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL})
_CLOSED = frozenset({errno.EACCES, errno.EPERM})
#: Bytes of a relative path: a longer one ends every reader that does not go down step by step.
_LONGEST_PATH = 3840


@dataclass(slots=True)
class Packed:
    """What went into an archive, and what did not."""

    #: Of the files' content, without holes.
    bytes: Bytes = ZERO
    members: int = 0
    #: Files that were written while they were packed: their content may be torn.
    changed: list[str] = field(default_factory=list)
    #: Name and reason.
    left_out: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Placing:
    """Where members come to lie in a plain archive, and where its packing begins."""

    #: ``look`` at the directory before it is packed.
    trusted: Mapping[str, str]
    #: Members of the beginning that is there already, which are not packed again.
    without: Collection[str] = ()
    #: The bytes of that beginning.
    begin: int = 0
    #: What was packed, in order.
    members: list[Placed] = field(default_factory=list)


def pack_directory(
    directory: Path,
    stream: BinaryIO,
    *,
    compression: Compression = Compression.NONE,
    check: Check | None = None,
    keep: Callable[[str], bool] = lambda _: True,
    placing: Placing | None = None,
) -> Packed:
    """Pack what is in ``directory`` and ``keep`` says yes to (relative names, parents first).

    Names are relative, without ``./`` and without an entry for the directory itself, as
    StudioML's client writes them; sorted; owner and group are nobody's; times are the files' own.
    Every hard link is packed as a file of its own, because the original runner reads the others
    as symbolic links. A file with holes is packed without them (``sparse``). What ``unpack`` would
    refuse is left out and told: links that leave the directory (absolute ones into it are made
    relative), devices, pipes and sockets.

    A file that shrinks meanwhile is filled up with zeros, one that grows is cut off at the size
    it had: the archive is whole in any case, and ``Packed.changed`` names them. With ``placing``,
    which is for archives without compression, their places are noted as not to be relied on.
    Raises OSError when ``directory`` itself cannot be read, HostFault when a file gives an error.
    """
    packed = Packed()
    check = check_of(stream, check)
    with compressed(stream, compression) as plain:
        writer = _Writer(plain, packed, check, placing)
        kept = walk(directory, lambda *why: packed.left_out.append(why), lambda name, _: keep(name))
        for entry in kept:
            check()
            if placing is None or entry.name not in placing.without:
                writer.add(entry, directory.absolute())
        writer.end()
    return packed


def pack_single(
    path: Path,
    stream: BinaryIO,
    *,
    compression: Compression = Compression.NONE,
    check: Check | None = None,
) -> Packed:
    """Pack one file as the only member ``./NAME`` with its own time.

    It is the one form that StudioML's client can read a result from: any other shape becomes a
    directory there, and a time before the submission is waited past for ever. Raises OSError when
    the file cannot be read or is none, or lies in a directory that has become a link.
    """
    packed = Packed()
    descriptor = open_in_place(path, os.O_RDONLY)
    with compressed(stream, compression) as plain:
        writer = _Writer(plain, packed, check_of(stream, check))
        writer.add_file(f"./{path.name}", descriptor)
        writer.end()
    if not packed.members:
        raise IsADirectoryError(f"{path} is no file")
    return packed


class _Writer:
    """Writes headers, content and padding; nobody else counts the bytes."""

    def __init__(
        self, stream: BinaryIO, packed: Packed, check: Check, placing: Placing | None = None
    ) -> None:
        self._stream = stream
        self._packed = packed
        self._check = check
        self._placing = placing
        self._written = placing.begin if placing else 0

    def add(self, entry: Entry, root: Path) -> None:
        start, last = self._written, self._add(entry, root)
        if self._placing is not None and self._written > start:
            states = (entry.state, last)
            wanted = self._placing.trusted.get(entry.name, "")
            proven = wanted if all(seen(state) == wanted for state in states) else ""
            self._placing.members.append(Placed(entry.name, proven, self._written - start))

    def _add(self, entry: Entry, root: Path) -> os.stat_result:
        """Write what there is to write of an entry; return its state afterwards."""
        mode = entry.state.st_mode
        if len(os.fsencode(entry.name)) > _LONGEST_PATH:
            self._leave_out(entry.name, f"its path has more than {_LONGEST_PATH} bytes")
            return entry.state
        try:
            if stat.S_ISREG(mode):
                return self.add_file(entry.name, entry.open())
            if stat.S_ISLNK(mode):
                self._add_link(entry, root)
            elif stat.S_ISDIR(mode):
                self._begin(_head(_info(entry.name, entry.state, tarfile.DIRTYPE)))
            else:
                self._leave_out(entry.name, "it is no file, directory or link")
        except OSError as error:
            if error.errno in _CLOSED:
                self._leave_out(entry.name, f"it cannot be read: {error.strerror}")
            elif error.errno not in _REPLACED:
                raise HostFault(f"{shown(entry.name)} could not be packed: {error}") from error
        return entry.state

    def add_file(self, name: str, descriptor: int) -> os.stat_result:
        """Pack an open file and close it; return its state afterwards."""
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            os.close(descriptor)
            self._leave_out(name, "it is no file, directory or link")
            return before
        whole = (Span(0, before.st_size),) if before.st_size else ()
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            spans = self._spans(descriptor, before) if has_holes(before) else whole
            info = _info(name, before, tarfile.REGTYPE, size=before.st_size)
            self._begin(_head(info) if spans == whole else sparse_head(info, spans))
            for span in spans:
                self._copy(file, span)
            self._zeros(-self._written % _BLOCK)
            after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            self._packed.changed.append(name)
        return after

    def _spans(self, descriptor: int, state: os.stat_result) -> tuple[Span, ...]:
        return worth_storing(extents(descriptor, state.st_size, self._check), state.st_size)

    def _copy(self, file: io.FileIO, span: Span) -> None:
        file.seek(span.start)
        left = span.length
        while left and (piece := file.read(min(left, _PIECE))):
            self._check()
            self._write(piece)
            left -= len(piece)
        self._zeros(left)
        self._packed.bytes = Bytes(self._packed.bytes + span.length)

    def end(self) -> None:
        """Write the mark of the end, to a full record as ``tar`` does."""
        self._zeros(2 * _BLOCK)
        self._zeros(-self._written % tarfile.RECORDSIZE)

    def _add_link(self, entry: Entry, root: Path) -> None:
        target = entry.target()
        inside = portable_target(root, entry.name, target)
        if inside is None:
            self._leave_out(entry.name, f"it is a link to {target!r}, which is outside")
        else:
            info = _info(entry.name, entry.state, tarfile.SYMTYPE, target=inside)
            self._begin(_head(info))

    def _begin(self, head: bytes) -> None:
        self._write(head)
        self._packed.members += 1

    def _leave_out(self, name: str, why: str) -> None:
        self._packed.left_out.append((name, why))

    def _zeros(self, count: int) -> None:
        while count > 0:
            self._check()
            self._write(bytes(min(count, _PIECE)))
            count -= _PIECE

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._written += len(data)


def _info(
    name: str, state: os.stat_result, kind: bytes, *, size: int = 0, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    info.mode = state.st_mode & 0o777
    # Python writes what is beyond with an exponent, at which Go's reader gives up the archive.
    info.mtime = min(state.st_mtime, LATEST) if state.st_mtime >= 1 else 0
    return info


def _head(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
