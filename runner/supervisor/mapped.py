"""Shows the files of one user as those of another, in the mounts of one run alone (Linux 5.12)."""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Never

_CLONE_NEWUSER = 0x10000000
#: The same on every machine: younger than the numbers were made one.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_ATTR_RDONLY, _ATTR_IDMAP = 0x1, 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """What ``mount_setattr`` is told."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def show_as(path: bytes, identity: tuple[int, int]) -> None:
    """Put the directory over itself, read-only, its owner's files as those of ``identity``.

    Those of everybody else belong to nobody there. Raises OSError where the kernel or the file
    system cannot do it.
    """
    found = os.stat(path)
    owner = found.st_uid, found.st_gid
    tree = _call(_OPEN_TREE, _AT_FDCWD, path, _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        users = _mapping(owner, identity)
        try:
            wish = _Attributes(_ATTR_IDMAP | _ATTR_RDONLY, 0, 0, users)
            size = ctypes.sizeof(wish)
            _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wish), size)
        finally:
            os.close(users)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def _call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _mapping(owner: tuple[int, int], identity: tuple[int, int]) -> int:
    """Return a user namespace in which ``owner`` is whom everybody else calls ``identity``.

    It takes a process for a moment, that was in it when it was made.
    """
    (ready, tell), (wait, hold) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        _be_there(tell, wait)
    os.close(tell)
    os.close(wait)
    try:
        if not os.read(ready, 1):
            raise OSError(errno.EPERM, "no user namespace can be made")
        for name, before, after in zip(("uid_map", "gid_map"), owner, identity, strict=True):
            with open(f"/proc/{pid}/{name}", "wb", 0) as file:
                file.write(b"%d %d 1" % (before, after))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.close(hold)
        os.waitpid(pid, 0)


def _be_there(tell: int, wait: int) -> Never:
    try:
        if _libc.unshare(ctypes.c_int(_CLONE_NEWUSER)) == 0:
            os.write(tell, b"x")
            os.read(wait, 1)  # until the other side is closed
    finally:
        os._exit(0)
