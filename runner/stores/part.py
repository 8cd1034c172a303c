"""A file that is being written beside its final name, and appears there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from types import TracebackType
from typing import BinaryIO, Self

_NO_ANONYMOUS_FILES = frozenset(
    {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS}
)
_BUFFER = 1 << 18


class Part:
    """An unpublished file in ``directory`` (an open descriptor); gone unless published.

    Where the filesystem knows nameless files (``O_TMPFILE``) one is used, so that a writer killed
    in the middle leaves nothing at all; elsewhere it is ``.NAME.RANDOM.part``.
    """

    def __init__(self, directory: int, name: str, *, anonymous: bool = True) -> None:
        self._directory = directory
        # A name of 255 bytes is legal, so its hidden form must not be longer.
        self._hidden = f".{os.fsdecode(os.fsencode(name)[:180])}.{secrets.token_hex(8)}.part"
        self._name = name
        descriptor = _nameless(directory) if anonymous else None
        self._named = descriptor is None
        if descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._hidden, flags, 0o600, dir_fd=directory)
        self.stream: BinaryIO = os.fdopen(descriptor, "wb", buffering=_BUFFER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing flushes, and a full disk must not hide the error that brought us here.
        with contextlib.suppress(OSError):
            self.stream.close()
        if self._named:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hidden, dir_fd=self._directory)

    def settle(self, *, durable: bool = True) -> None:
        """Bring the content to the file, to the disk if ``durable``.

        It gets the mode and, as root, the owner of its directory.
        """
        self.stream.flush()
        adopt(self.stream.fileno(), self._directory, 0o666)
        if durable:
            os.fsync(self.stream.fileno())

    def publish(self, not_before: int) -> os.stat_result:
        """Give the file its name, replacing what was there, and return its state.

        Its time becomes later than ``not_before`` (ns), so that no two contents that ever had
        this name share inode, time and size: a freed inode may be used again at once.
        """
        descriptor = self.stream.fileno()
        now = os.fstat(descriptor).st_mtime_ns
        if now <= not_before:
            os.utime(descriptor, ns=(not_before + 1, not_before + 1))
        if not self._named:
            # Linking cannot replace an existing name, renaming can.
            os.link(
                f"/proc/self/fd/{descriptor}",
                self._hidden,
                dst_dir_fd=self._directory,
                follow_symlinks=True,
            )
            self._named = True
        os.rename(self._hidden, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._named = False
        return os.fstat(descriptor)


def adopt(descriptor: int, directory: int, mask: int) -> None:
    """Give what the daemon made the access that its directory has.

    A store is shared with the clients that wrote the experiment's inputs into it: what a root
    daemon makes there must stay theirs to read, replace and remove.
    """
    above = os.fstat(directory)
    own = os.fstat(descriptor)
    os.fchmod(descriptor, stat.S_IMODE(above.st_mode) & mask)
    if os.geteuid() == 0 and (above.st_uid, above.st_gid) != (own.st_uid, own.st_gid):
        with contextlib.suppress(PermissionError):  # a root that a file server squashes
            os.fchown(descriptor, above.st_uid, above.st_gid)


def _nameless(directory: int) -> int | None:
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not os.path.isdir("/proc/self/fd"):  # noqa: PTH112 - no Path needed
        return None
    try:
        return os.open(".", flag | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_ANONYMOUS_FILES:
            return None
        raise
