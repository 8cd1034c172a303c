"""The system calls that an experiment's start needs and the standard library does not offer."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_CAPABILITIES = 64  # more than there are
#: What root may do behind walls, by the kernel's numbers: own files, change its user, end its own
#: processes; no mounts, devices, modules, networks, tracing.
_KEPT_POWERS = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 10})
#: The C library has no name for this system call, which has another number on each machine.
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_JOIN_SESSION = 1
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_NEWPID = 0x20000000
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
#: Flags of the file system below that a remount must repeat; it keeps those about times by itself.
_KEPT = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_SEALED = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_USERS, _LIST = b"/etc/passwd", b"users"
_AF_INET, _SOCK_DGRAM = 2, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_OVERLAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: bytes = b"") -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(path) or None)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _mount(
    source: bytes | None,
    target: bytes,
    flags: int,
    kind: bytes | None = None,
    data: bytes | None = None,
) -> None:
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data), target)


def become_subreaper() -> None:
    """Make every orphan below us our own child, however often it forked."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signum: int) -> None:
    """Have the kernel send us ``signum`` when our parent ends; a change of user undoes it."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def forbid_new_privileges() -> None:
    """Make setuid programs powerless for us and for all that we start."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_few_powers() -> None:
    """Have what root starts from now on be able to do no more than is harmless behind walls.

    As an ordinary user it has none anyway, and nothing is done.
    """
    if os.geteuid() != 0:
        return
    for capability in range(_CAPABILITIES):
        if capability not in _KEPT_POWERS:
            try:
                _prctl(_PR_CAPBSET_DROP, capability)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel knows no further ones
                    raise
                return


def leave_keyring() -> None:
    """Get an empty session keyring: what is in the daemon's opens file systems, and hosts.

    Where there are no keyrings, or a container lets nobody have them, there is nothing to leave.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        _libc.syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION), None)


def keep_to_ourselves() -> None:
    """Let no other process of our user look into us: memory, environment, open files, directories.

    Root still may. Ends with the next exec, so that nothing that we start is the same.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def leave_user_namespace() -> None:
    """Become able to mount, in mounts of our own, without being root.

    Our user and group stay what they are, all others look like nobody. The abilities end with the
    next exec, the mounts do not; and our creator may still signal us and look into us.
    """
    uid, gid = os.geteuid(), os.getegid()
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWUSER)))
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))
    _write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))


def _write(path: str, text: bytes) -> None:
    with open(path, "wb", 0) as file:
        file.write(text)


def leave_mount_namespace() -> None:
    """Get mounts of our own: ours stay here, the machine's later ones (autofs) still arrive."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWNS)))
    _mount(b"none", b"/", _MS_REC | _MS_SLAVE)


def new_processes() -> None:
    """Have our next child be the first process of a new namespace, and our later ones in there."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWPID)))


def mount_processes() -> None:
    """Show at ``/proc``, in this mount namespace, the processes of our namespace."""
    _mount(b"proc", b"/proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, b"proc")


def name_ourselves() -> None:
    """Add our user to the machine's list of users, in this mount namespace; by our directory.

    It is looked for by number alone.
    """
    with open(_USERS, "rb", 0) as file:
        known = file.read()
    with open(_LIST, "xb", 0) as file:
        numbers = os.geteuid(), os.getegid()
        file.write(b"%s\nexperiment:x:%d:%d::/:/bin/sh\n" % (known.rstrip(b"\n"), *numbers))
    try:
        os.chmod(_LIST, 0o644)
        _mount(_LIST, _USERS, _MS_BIND)
    finally:
        os.unlink(_LIST)


def leave_network() -> None:
    """Get a network of our own, in which there is nobody but us, at 127.0.0.1."""
    _checked(_libc.unshare(ctypes.c_int(_CLONE_NEWNET)))
    loopback = _libc.socket(_AF_INET, _SOCK_DGRAM, 0)
    if loopback < 0:
        _checked(loopback)
    try:
        # Its name, and from byte 16 on its flags.
        asked = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(loopback, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    finally:
        os.close(loopback)


def enter_namespace(descriptor: int) -> None:
    """Enter the namespace that is open there; of processes, our next children do."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(0)))


def bind_readonly(path: bytes) -> None:
    """Put ``path`` over itself, read-only, in this mount namespace."""
    _mount(path, path, _MS_BIND)
    kept = os.statvfs(path).f_flag & _KEPT
    _mount(None, path, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def open_place(path: bytes) -> int:
    """Return a descriptor by which the directory is found whatever is laid over its path."""
    return os.open(path, _OVERLAY)


def bind(source: int, target: bytes, *, writable: bool) -> None:
    """Show the directory ``source``, with all that is mounted in it, at ``target``."""
    _mount(b"/proc/self/fd/%d" % source, target, _MS_BIND | _MS_REC)
    if not writable:
        for place in _mounted_below(os.path.realpath(target)):
            kept = os.statvfs(place).f_flag & _KEPT
            _mount(None, place, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mounted_below(target: bytes) -> list[bytes]:
    with open("/proc/self/mountinfo", "rb", 0) as file:
        lines = file.read().splitlines()
    places = {_unescaped(line.split()[4]) for line in lines}
    return sorted(one for one in places if one == target or one.startswith(target + b"/"))


def _unescaped(path: bytes) -> bytes:
    """Undo what the kernel does to blanks, ends of lines and backslashes: octal numbers."""
    first, *rest = path.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def mount_overlay(
    target: bytes, lower: bytes, upper: bytes, work: bytes, *, privileged: bool
) -> None:
    """Show ``lower`` at ``target``, in this mount namespace; what is changed goes to ``upper``.

    ``volatile``: else the end of every run would write the whole disk's buffers out, and nothing
    of ``upper`` outlives the run. Without ``redirect_dir``, which takes root, renaming a directory
    of ``lower`` is refused as if it lay on another disk (EXDEV), for which programs copy instead.
    """
    # By descriptor: options have no room for long paths, and commas and colons have a meaning.
    places = [os.open(path, _OVERLAY) for path in (lower, upper, work)]
    try:
        data = b"lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d" % (
            *places,
        )
        more = b",volatile,redirect_dir=on" if privileged else b",volatile,userxattr"
        try:
            _mount(b"overlay", target, _MS_NOSUID | _MS_NODEV, b"overlay", data + more)
        except OSError as error:
            if error.errno != errno.EINVAL or not privileged:
                raise
            # Kernels before 5.10 know no such option.
            _mount(b"overlay", target, _MS_NOSUID | _MS_NODEV, b"overlay", data)
    finally:
        for place in places:
            os.close(place)


def hide(path: bytes, visible: list[bytes]) -> None:
    """Cover ``path``, if there is such a path, in this mount namespace.

    A directory becomes an empty one in which nothing can be made; what of ``visible`` lies below it
    stays where it is, with all that is mounted there. Anything else cannot be opened any more.
    """
    try:
        is_directory = os.path.isdir(path)
        if is_directory:
            _cover(path, [place for place in visible if place.startswith(path + b"/")])
        elif os.path.lexists(path):
            _mount(b"/dev/null", path, _MS_BIND)
            _mount(None, path, _MS_REMOUNT | _MS_BIND | _SEALED)
    except FileNotFoundError:
        pass  # gone in this moment


def _opened(place: bytes) -> int | None:
    try:
        return os.open(place, _OVERLAY)
    except FileNotFoundError:
        return None  # a place that nobody has made yet; that must not keep the rest uncovered


def _cover(path: bytes, visible: list[bytes]) -> None:
    places = [(place, found) for place in visible if (found := _opened(place)) is not None]
    try:
        inodes = 1 + sum(place.count(b"/") - path.count(b"/") for place, _ in places)
        mode = b"711" if places else b"000"
        _mount(
            b"none", path, _SEALED & ~_MS_RDONLY, b"tmpfs", b"mode=%s,nr_inodes=%d" % (mode, inodes)
        )
        for place, descriptor in places:
            os.makedirs(place, 0o711, exist_ok=True)
            _mount(b"/proc/self/fd/%d" % descriptor, place, _MS_BIND | _MS_REC)
        _mount(None, path, _MS_REMOUNT | _MS_BIND | _SEALED)
    finally:
        for _, descriptor in places:
            os.close(descriptor)
