"""The system calls that an experiment's start needs and the standard library does not offer."""

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_MS_RDONLY = 0x1
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
#: Flags of the file system below that a remount must repeat: nosuid, nodev, noexec, noatime.
_KEPT = 0x2 | 0x4 | 0x8 | 0x400

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: bytes = b"") -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(path) or None)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    _checked(_libc.mount(source, target, None, ctypes.c_ulong(flags), None), target)


def become_subreaper() -> None:
    """Make every orphan below us our own child, however often it forked."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signum: int) -> None:
    """Have the kernel send us ``signum`` when our parent ends; a change of user undoes it."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def forbid_new_privileges() -> None:
    """Make setuid programs powerless for us and for all that we start."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def leave_mount_namespace() -> None:
    """Get mounts of our own: ours stay here, the machine's later ones (autofs) still arrive."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWNS)))
    _mount(b"none", b"/", _MS_REC | _MS_SLAVE)


def bind_readonly(path: bytes) -> None:
    """Put ``path`` over itself, read-only, in this mount namespace."""
    _mount(path, path, _MS_BIND)
    kept = os.statvfs(path).f_flag & _KEPT
    _mount(None, path, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)
