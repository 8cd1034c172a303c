"""Writes members into a directory and nowhere else, whatever their names and links say."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from runner.archives.footprint import BLOCK, Spending, Take
from runner.archives.members import Kind, Member, shown
from runner.archives.names import is_winding, leaves, split, stays_inside
from runner.archives.stopping import Check
from runner.archives.writer import Writer
from runner.errors import ArtifactBad, HostFault, OutOfDisk, TooLarge
from runner.model import Bytes, Span

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 18
#: Every level costs an open descriptor while something in it is written.
_DEEPEST = 128
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY})
_IMPOSSIBLE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ENOENT, errno.EFBIG})
#: What no file has.
_ALL = 1 << 62


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Say whose fault it is that ``name`` could not be written: archive, disk or machine."""
    try:
        yield
    except UnicodeError as error:
        raise ArtifactBad(f"{shown(name)} in the archive is no possible file name") from error
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfDisk(f"no space is left for {shown(name)}: {error.strerror}") from error
        if error.errno in _IN_THE_WAY:
            raise ArtifactBad(
                f"{shown(name)} in the archive lies where a link or a file of the archive is"
            ) from error
        if error.errno in _IMPOSSIBLE:
            raise ArtifactBad(
                f"{shown(name)} in the archive cannot be made: {error.strerror}"
            ) from error
        raise HostFault(f"{shown(name)} could not be written: {error}") from error


class Tree:
    """A directory that is being filled; used with ``with``, which closes what it has open.

    Every step from the root is an ``openat`` that follows no link, so that a link made by one
    member never leads a later one elsewhere.
    """

    def __init__(
        self,
        root: Path,
        *,
        budget: Bytes,
        max_members: int,
        check: Check,
        take: Take | None = None,
    ) -> None:
        self._root = root
        self._spending = Spending(take)
        self._budget = budget
        self._max_members = max_members
        self._check = check
        self._writer = Writer()
        self.bytes = Bytes(0)
        self.members = 0
        self._made = 0
        #: The directory last used and all above it, from the root: name and descriptor.
        self._way: list[tuple[str, int]] = []
        #: Directories that the archive has, with mode and time to be set at the end.
        self._directories: dict[tuple[str, ...], tuple[int, int]] = {}
        #: Links whose target climbs after it went down: only the whole tree tells where to.
        self._winding: list[tuple[tuple[str, ...], str]] = []

    def __enter__(self) -> Self:
        self._way.append(("", os.open(self._root, _DIRECTORY)))
        return self

    def __exit__(self, *_: object) -> None:
        with self._writer:
            while self._way:
                os.close(self._way.pop()[1])

    def add(self, member: Member) -> None:
        """Write one member. Raises ArtifactBad, OutOfDisk and HostFault."""
        self._check()
        self.members += 1
        if self.members > self._max_members:
            raise ArtifactBad(f"the archive has more than {self._max_members} members")
        parts = split(member.name)
        if not parts:
            if member.kind is not Kind.DIRECTORY:
                raise ArtifactBad(f"{shown(member.name)} in the archive is no possible file name")
            return
        if member.kind is not Kind.DIRECTORY:
            self._spending.inode()
        with writing(member.name):
            if member.kind is Kind.DIRECTORY:
                self._add_directory(parts, member)
            elif member.kind is Kind.FILE:
                self._add_file(parts, member)
            elif member.kind is Kind.SYMLINK:
                self._add_symlink(parts, member.target, member.mtime)
            else:
                self._add_hardlink(parts, member)

    def finish(self) -> None:
        """Wait for the disk, check the links that only the whole tree can tell about, and settle.

        Raises as ``add``.
        """
        with writing("the last files"):
            self._writer.settle()
        root = Path(os.path.realpath(self._root))
        for parts, target in self._winding:
            goal = Path(os.path.realpath(root.joinpath(*parts[:-1], target)))
            if not goal.is_relative_to(root):
                raise leaves("/".join(parts), target)
        for parts, (mode, mtime) in self._directories.items():
            self._check()
            with writing("/".join(parts)):
                descriptor = self._enter(parts)
                os.fchmod(descriptor, mode & 0o777 | stat.S_IRWXU)
                os.utime(descriptor, ns=(mtime, mtime))

    def _add_directory(self, parts: tuple[str, ...], member: Member) -> None:
        self._enter(parts)
        self._directories[parts] = (member.mode, member.mtime)

    def _add_file(self, parts: tuple[str, ...], member: Member) -> None:
        stored = member.size
        if member.spans is not None:
            stored = Bytes(sum(span.length for span in member.spans))
        if self.bytes + stored > self._budget:
            raise self._too_large()
        descriptor = self._opened(parts)
        try:
            if member.spans is None:
                self._fill(descriptor, member, Span(0, _ALL))
            else:
                self._fill_spans(descriptor, member, member.spans)
        finally:
            # Owners can always read: the upload does, too.
            self._writer.finish(descriptor, member.mode & 0o777 | stat.S_IRUSR, member.mtime)

    def _fill_spans(self, descriptor: int, member: Member, spans: Sequence[Span]) -> None:
        os.ftruncate(descriptor, member.size)
        for span in spans:
            self._check()
            # The beginning of a block is not always that of a span.
            self._spending.content(span.start // BLOCK * BLOCK, span.start)
            self._writer.seek(descriptor, span.start)
            self._fill(descriptor, member, span)

    def _fill(self, descriptor: int, member: Member, span: Span) -> None:
        """Write what a member has for ``span``, from where the file stands."""
        content, at = member.content, span.start
        while content and at < span.end and (piece := content.read(min(_PIECE, span.end - at))):
            self._check()
            self.bytes = Bytes(self.bytes + len(piece))
            if self.bytes > self._budget:
                raise self._too_large()
            self._spending.content(at, at + len(piece))
            at += len(piece)
            self._writer.write(descriptor, piece)

    def _opened(self, parts: tuple[str, ...]) -> int:
        """Make a file; most often nothing has its name."""
        parent = self._enter(parts[:-1])
        try:
            return os.open(parts[-1], _FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            os.unlink(parts[-1], dir_fd=parent)
            return os.open(parts[-1], _FILE, 0o600, dir_fd=parent)

    def _add_symlink(self, parts: tuple[str, ...], target: str, mtime: int) -> None:
        if not stays_inside(parts, target):
            raise leaves("/".join(parts), target)
        if is_winding(target):
            self._winding.append((parts, target))
        parent = self._cleared(parts)
        os.symlink(target, parts[-1], dir_fd=parent)
        os.utime(parts[-1], ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def _add_hardlink(self, parts: tuple[str, ...], member: Member) -> None:
        source = split(member.target)
        if source == parts or not source:
            return
        above = os.dup(self._enter(source[:-1], create=False))
        try:
            state = os.stat(source[-1], dir_fd=above, follow_symlinks=False)
            if stat.S_ISLNK(state.st_mode):
                # Another name of a link in another directory would mean another file.
                self._add_symlink(parts, os.readlink(source[-1], dir_fd=above), member.mtime)
                return
            if not stat.S_ISREG(state.st_mode):
                raise ArtifactBad(
                    f"{shown(member.name)} in the archive is a hard link to a directory"
                )
            parent = self._cleared(parts)
            os.link(
                source[-1], parts[-1], src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False
            )
        finally:
            os.close(above)

    def _cleared(self, parts: tuple[str, ...]) -> int:
        """Return the open parent, in which nothing has the name any more: the last one wins."""
        parent = self._enter(parts[:-1])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=parent)
        return parent

    def _enter(self, parts: tuple[str, ...], *, create: bool = True) -> int:
        if len(parts) > _DEEPEST:
            raise ArtifactBad(f"the archive has directories more than {_DEEPEST} levels deep")
        common = 0
        for (name, _), wanted in zip(self._way[1:], parts, strict=False):
            if name != wanted:
                break
            common += 1
        while len(self._way) > common + 1:
            os.close(self._way.pop()[1])
        for name in parts[common:]:
            here = self._way[-1][1]
            if create:
                self._make(name, here)
            self._way.append((name, os.open(name, _DIRECTORY, dir_fd=here)))
        return self._way[-1][1]

    def _make(self, name: str, here: int) -> None:
        self._spending.inode()
        try:
            os.mkdir(name, 0o755, dir_fd=here)
        except FileExistsError:
            self._spending.no_inode()
            return
        # A member's name alone can ask for a hundred directories.
        self._made += 1
        if self._made > self._max_members:
            raise ArtifactBad(f"the archive has more than {self._max_members} directories")

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the archive unpacks to more than the {self._budget} bytes that the experiment's "
            "disk need allows"
        )
