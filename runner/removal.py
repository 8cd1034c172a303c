"""Removes directory trees, also such as somebody hostile made: deep, read-only, full of links."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import HostFault


def remove_tree(root: Path, check: Callable[[], None] = lambda: None) -> None:
    """Remove ``root``; one that is not there is no error. Raises HostFault naming what stays.

    Every directory is moved to the top under a new name before it is emptied. So the tree becomes
    flat as it goes, and neither its depth nor the length of its paths matters; no link is followed;
    and a mount point, which cannot be moved, is left alone with all that is mounted there.
    ``check`` is called between two steps and may raise to stop.
    """
    try:
        if not _is_directory(str(root)):
            root.unlink()
            return
        with _opened(str(root)) as top:
            trouble = _Flattening(top, check).run()
        if not trouble:
            root.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFault(f"{root} could not be removed: {error.strerror}") from error
    if trouble:
        name, why = trouble[0]
        raise HostFault(f"{root} could not be removed: {name}: {why} ({len(trouble)} in all)")


def remove_quickly(root: Path) -> None:
    """Remove what is mostly harmless, in half the time; else do as ``remove_tree`` does."""
    try:
        if _is_directory(str(root)):  # rmtree would wait for the other end of a pipe
            return shutil.rmtree(root)
    except (OSError, RecursionError):  # closed to its owner, gone in part, or deep
        pass
    return remove_tree(root)


class _Flattening:
    """Empties one directory; what resists is noted, the rest goes."""

    def __init__(self, top: int, check: Callable[[], None]) -> None:
        self._top = top
        self._check = check
        self._prefix = f".gone-{secrets.token_hex(8)}-"
        self._numbers = itertools.count()
        self._stuck: set[str] = set()
        self._trouble: list[tuple[str, str]] = []

    def run(self) -> list[tuple[str, str]]:
        while names := set(_names(self._top)) - self._stuck:
            for name in names:
                self._check()
                if not self._attempt(self._remove, name, self._top):
                    self._stuck.add(name)
        return self._trouble

    def _attempt(self, act: Callable[[str, int], None], name: str, at: int) -> bool:
        try:
            act(name, at)
        except OSError as error:
            self._trouble.append((name, error.strerror or str(error)))
            return False
        return True

    def _remove(self, name: str, at: int) -> None:
        """Remove a file or an empty directory; lift any other directory to the top."""
        if not _is_directory(name, at):
            os.unlink(name, dir_fd=at)
        elif name.startswith(self._prefix):
            self._empty(name)
            os.rmdir(name, dir_fd=at)
        else:
            self._flatten(name, at)

    def _flatten(self, name: str, at: int) -> None:
        try:
            os.rmdir(name, dir_fd=at)
        except OSError:  # in most there is something
            self._lift(name, at)

    def _empty(self, name: str) -> None:
        # A stranger's directory that we may not look into can still be empty.
        with contextlib.suppress(PermissionError), _opened(name, self._top) as folder:
            for inner in _names(folder):
                self._check()
                self._attempt(self._remove, inner, folder)

    def _lift(self, name: str, at: int) -> None:
        # A directory must itself be writable to change its parent.
        with contextlib.suppress(PermissionError), _opened(name, at):
            pass
        new = f"{self._prefix}{next(self._numbers)}"
        os.rename(name, new, src_dir_fd=at, dst_dir_fd=self._top)


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _is_directory(name: str, at: int | None = None) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)


@contextmanager
def _opened(name: str, at: int | None = None) -> Iterator[int]:
    """Open a directory that may forbid this to its owner, and make it writable."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{handle}").chmod(mode | stat.S_IRWXU)
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(handle)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
