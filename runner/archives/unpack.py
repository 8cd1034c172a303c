"""Artifacts on their way in: archives into a directory, single files to their name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from runner.archives.compression import Container, Recognised, recognise
from runner.archives.footprint import Spending, Take
from runner.archives.members import Kind, Member
from runner.archives.stopping import Check, check_of
from runner.archives.tar import tar_members
from runner.archives.tree import Tree, writing
from runner.archives.zip import zip_members
from runner.errors import BadField, TooLarge
from runner.model import Bytes
from runner.removal import remove_quickly

#: A million inodes; the largest data sets of single files have more and come as archives inside.
MAX_MEMBERS = 1_000_000
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was written."""

    bytes: Bytes
    members: int
    #: The one member was a file called ``./name``, the form in which clients send a single file.
    single: bool = False


def unpack(
    stream: BinaryIO,
    into: Path,
    *,
    budget: Bytes,
    max_members: int = MAX_MEMBERS,
    check: Check | None = None,
    take: Take | None = None,
) -> Unpacked:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into the empty directory ``into``.

    All or nothing: after an error, or an interruption, ``into`` is empty again. Ownership is not
    restored; modes lose set-user-id, set-group-id and sticky, and the owner keeps access.

    ``take`` is called with what is about to be used of the disk, as ``footprint`` counts it, every
    few kilobytes: it must be cheap. What it raises comes out.

    Raises ArtifactBad (no archive, truncated, corrupt, leaves the directory, has devices, more
    than ``max_members``), TooLarge beyond ``budget`` bytes, OutOfDisk and HostFault.
    """
    check = check_of(stream, check)
    if any(into.iterdir()):
        raise ValueError(f"{into} is not empty")
    try:
        with (
            _members(recognise(stream), into, budget, check, take) as members,
            Tree(into, budget=budget, max_members=max_members, check=check, take=take) as tree,
        ):
            single = False
            for member in members:
                single = tree.members == 0 and _is_single_form(member)
                tree.add(member)
            tree.finish()
    except BaseException:
        empty(into)
        raise
    return Unpacked(tree.bytes, tree.members, single)


def place_file(
    stream: BinaryIO,
    path: Path,
    *,
    budget: Bytes,
    check: Check | None = None,
    take: Take | None = None,
) -> Bytes:
    """Store an artifact that is not to be unpacked as the file ``path``, whole or not at all.

    ``take`` as in ``unpack``. Raises TooLarge beyond ``budget`` bytes, OutOfDisk and HostFault.
    """
    check = check_of(stream, check)
    spending = Spending(take)
    spending.inode()
    with writing(path.name), tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        try:
            size = _copy(stream, cast("BinaryIO", part), budget, check, spending)
            part.flush()
            os.fchmod(part.fileno(), 0o644)
            Path(part.name).rename(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return size


def file_name_of(key: str) -> str:
    """Return the name that an artifact with this key has when it is not unpacked.

    Raises BadField for a key that ends in no possible file name.
    """
    name = key.rpartition("/")[2]
    if name in {"", ".", ".."} or "\0" in name:
        raise BadField("key", key, "it must end with the name of a file")
    return name


def _is_single_form(member: Member) -> bool:
    dot, _, name = member.name.partition("/")
    return member.kind is Kind.FILE and dot == "." and "/" not in name


def empty(directory: Path) -> None:
    """Remove all that is in ``directory``, links and not what they point to."""
    with os.scandir(directory) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_quickly(Path(entry.path))
        else:
            Path(entry.path).unlink(missing_ok=True)


@contextlib.contextmanager
def _members(
    found: Recognised, into: Path, budget: Bytes, check: Check, take: Take | None
) -> Iterator[Iterator[Member]]:
    if found.container is Container.TAR:
        yield tar_members(found.stream, budget, found.looks_like)
        return
    # Nameless, and on the disk whose budget it uses.
    with tempfile.TemporaryFile(dir=into.parent) as spool:
        with writing("the zip archive"):
            _copy(found.stream, cast("BinaryIO", spool), budget, check, Spending(take))
            spool.seek(0)
        yield zip_members(cast("BinaryIO", spool))


def _copy(
    stream: BinaryIO, file: BinaryIO, budget: Bytes, check: Check, spending: Spending
) -> Bytes:
    size = 0
    while piece := stream.read(_PIECE):
        check()
        size += len(piece)
        if size > budget:
            raise TooLarge(
                f"the object is larger than the {budget} bytes that the experiment's disk need "
                "allows"
            )
        spending.content(size - len(piece), size)
        file.write(piece)
    return Bytes(size)
