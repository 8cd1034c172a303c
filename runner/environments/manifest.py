"""The last file of a build: what the environment is, and what tells that nobody changed it.

The check reads no contents. Whatever is done to a file, its mode and times included, changes its
ctime, which no user can set: one walk over the directory finds it, at some microseconds a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from runner import own_files
from runner.model import Bytes

NAME = "manifest.json"
_VERSION = 2
_COMPILED = "__pycache__"
_BLOCK = 512
#: Between two files: no name has it.
_END = "/"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a walk over an environment found."""

    files: int
    #: What it takes from the disk, directories included.
    bytes: Bytes
    #: Over all files but compiled ones: name, ctime, inode.
    digest: str
    #: The same over the directories of compiled ones.
    compiled: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known about a complete environment."""

    survey: Survey
    #: As ``interpreters.describe`` gives it.
    interpreter: Mapping[str, str]
    #: Console scripts that name the environment's own interpreter in their first lines.
    scripts: tuple[str, ...] = ()
    #: Other programs of its ``bin``.
    programs: tuple[str, ...] = ()
    #: Directories of packages beneath the environment's own (``--base-environment``).
    beneath: tuple[str, ...] = ()
    #: Whether bytecode was compiled, so that ``Survey.compiled`` is to be believed.
    is_compiled: bool = False
    #: What is installed, one line each; for people.
    packages: tuple[str, ...] = field(default=())

    def write(self, root: Path) -> None:
        """Put it in place in one step, keeping the environment's time of last use."""
        path, new = root / NAME, root / f"{NAME}.new"
        used = path.stat().st_mtime_ns if path.exists() else None
        new.write_text(json.dumps({"version": _VERSION, **asdict(self)}, indent=1))
        new.chmod(0o444)
        if used is not None:
            os.utime(new, ns=(used, used))
        new.replace(path)


def read(root: Path) -> Manifest | None:
    """Return the manifest of ``root``; None where no build was completed."""
    try:
        found = own_files.read_as(root / NAME, dict[str, Any])
        is_ours = found.pop("version", None) == _VERSION
        return msgspec.convert(found, Manifest) if is_ours else None
    except (OSError, ValueError):
        return None


def survey(root: Path) -> Survey:
    """Walk over ``root``; blocks."""
    walk = _Walk(str(root))
    files, size = walk.run()
    for folder in walk.compiling:
        more, bytes_ = _Walk(f"{root}{folder}/{_COMPILED}").run()
        files, size = files + more, size + bytes_
    return Survey(files, Bytes(size), _digest(walk.sources), _digest(walk.compiled))


def is_unchanged(root: Path, manifest: Manifest) -> bool:
    """Tell whether all files are as the build left them; blocks."""
    walk = _Walk(str(root))
    try:
        walk.run()
    except FileNotFoundError:  # somebody removes it just now
        return False
    if _digest(walk.sources) != manifest.survey.digest:
        return False
    return not manifest.is_compiled or _digest(walk.compiled) == manifest.survey.compiled


class _Walk:
    """One pass over a directory; compiled files are left to the time stamps of their directories.

    This is the one loop of the room that every start of an experiment waits for. It makes texts
    alone: thousands of tuples would wake the garbage collector, which looks at all that lives.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        #: A text for each directory, with its name and the facts of its files.
        self.sources: list[str] = []
        self.compiled: list[str] = []
        #: Directories that hold a directory of compiled files.
        self.compiling: list[str] = []

    def run(self) -> tuple[int, int]:
        """Return the number of files seen and the bytes they take."""
        files, blocks, folders = 0, 0, [""]
        while folders:
            folder = folders.pop()
            facts = []
            # names below an open directory are looked up twice as fast as whole paths
            descriptor = os.open(self.root + folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        found, name = entry.stat(follow_symlinks=False), entry.name
                        blocks += found.st_blocks
                        if not stat.S_ISDIR(found.st_mode):
                            facts.append(f"{name}\0{found.st_ctime_ns}\0{found.st_ino}")
                        elif name == _COMPILED:
                            self.compiling.append(folder)
                            self.compiled.append(f"{folder}\0{found.st_ctime_ns}\0{found.st_ino}")
                        else:
                            folders.append(f"{folder}/{name}")
            finally:
                os.close(descriptor)
            files += len(facts)
            if not folder:
                facts = [fact for fact in facts if not fact.startswith(NAME)]
            facts.sort()
            self.sources.append(f"{folder}\0{_END.join(facts)}")
        return files, blocks * _BLOCK


def _digest(texts: list[str]) -> str:
    texts.sort()
    whole = "\0\0".join(texts).encode(errors="surrogateescape")
    return hashlib.blake2b(whole, digest_size=16).hexdigest()
