"""The script that leaves nothing of a user: ``python -I -S vacate.py UID GID [DIRECTORY...]``.

It becomes that user, so that it can end and remove what is the user's, and nothing else. Ends all
its processes in one system call, within which none of them can fork. With directories also removes
what the user has in them, and its System V memory, semaphores and message queues.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))  # -I leaves it out

from runner.errors import HostFault
from runner.lifecycle.runs.removal import remove_tree

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


def _remove_files(folder: Path, uid: int) -> None:
    with suppress(OSError), os.scandir(folder) as entries:
        own = [entry.path for entry in entries if entry.stat(follow_symlinks=False).st_uid == uid]
        for path in own:
            with suppress(HostFault):  # what others have put there is not the user's to remove
                remove_tree(Path(path))


def main() -> None:
    """Do it. What resists is left: the next look finds it."""
    uid, gid = map(int, sys.argv[1:3])
    _become(uid, gid)
    _end_all()
    folders = sys.argv[3:]
    if folders:
        _remove_shared_memory(uid)
    for folder in folders:
        _remove_files(Path(folder), uid)


if __name__ == "__main__":
    main()
