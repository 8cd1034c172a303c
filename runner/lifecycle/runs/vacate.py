"""The script that leaves nothing of a user: ``python -I -S vacate.py UID GID [DIRECTORY...]``.

It becomes that user, so that it can end and remove what is the user's, and nothing else. Ends all
its processes in one system call, within which none of them can fork. With directories also removes
what the user has in them, and its System V memory, semaphores and message queues.
"""

import ctypes
import os
import signal
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))  # -I leaves it out

from runner.errors import HostFault
from runner.removal import remove_tree

_IPC_RMID = 0
_KINDS = ("shm", "sem", "msg")


def _become(uid: int, gid: int) -> None:
    if uid == 0:
        sys.exit("root is nobody to be ended")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if set(os.getresuid()) != {uid}:
        sys.exit(f"this process is {os.getresuid()}, not {uid}")


def _end_all() -> None:
    with suppress(ProcessLookupError):  # there is nobody
        os.kill(-1, signal.SIGKILL)


def _shared_memory(kind: str, uid: int) -> Iterator[int]:
    """Yield the identifiers of what the user owns or has made."""
    try:
        # As bytes: this user may not be able to import a codec.
        head, *lines = Path("/proc/sysvipc", kind).read_bytes().splitlines()
    except (OSError, ValueError):
        return
    names = head.split()
    for line in lines:
        found = dict(zip(names, line.split(), strict=False))
        if b"%d" % uid in {found.get(b"uid"), found.get(b"cuid")}:
            yield int(line.split()[1])


def _remove_shared_memory(uid: int) -> None:
    libc = ctypes.CDLL(None)
    for kind in _KINDS:
        for identifier in _shared_memory(kind, uid):
            if kind == "sem":
                libc.semctl(identifier, 0, _IPC_RMID)
            else:
                libc[f"{kind}ctl"](identifier, _IPC_RMID, None)


def own(entries: Iterable[os.DirEntry[str]], uid: int) -> Iterator[Path]:
    """Yield what of a folder is the user's, and what of the system's open folders in there is."""
    for entry in entries:
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:  # gone: where all may write much comes and goes
            continue
        if found.st_uid == uid:
            yield Path(entry.path)
        elif found.st_uid == 0 and stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH:
            yield from own(_listed(entry.path), uid)


def _listed(folder: str) -> Sequence[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return ()


def _remove_files(folder: str, uid: int) -> None:
    for path in list(own(_listed(folder), uid)):
        with suppress(HostFault):  # what others have put there is not the user's to remove
            remove_tree(path)


def main() -> None:
    """Do it. What resists is left: the next look finds it."""
    uid, gid = map(int, sys.argv[1:3])
    _become(uid, gid)
    _end_all()
    folders = sys.argv[3:]
    if folders:
        _remove_shared_memory(uid)
    for folder in folders:
        _remove_files(folder, uid)


if __name__ == "__main__":
    main()
