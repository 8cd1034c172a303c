"""Which paths answer: who looks at one of a file system over a network may be kept for ever."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: Beginnings of the names of those that ask somebody else.
_KINDS = (b"nfs", b"cifs", b"smb", b"9p", b"ceph", b"fuse", b"lustre", b"gpfs", b"beegfs", b"afs")
#: Milliseconds that one may take to answer.
_PATIENCE = 2000
_MOUNTS = "/proc/self/mountinfo"


def answering(paths: list[bytes]) -> list[bytes]:
    """Return the paths without those that hang; of local file systems all, without a look."""
    far = _far()
    return [path for path in paths if not _is_below(path, far) or _answers(path)]


def _far() -> list[bytes]:
    """Return where file systems are mounted that may hang; they themselves are not touched."""
    try:
        with open(_MOUNTS, "rb", 0) as file:
            told = file.read()
    except OSError:
        return []
    if not any(b" - " + kind in told for kind in _KINDS):
        return []
    halves = (line.split(b" - ", 1) for line in told.splitlines())
    return [_path(left.split()[4]) for left, right in halves if right.startswith(_KINDS)]


def _path(escaped: bytes) -> bytes:
    """Undo what the kernel writes for white space."""
    first, *others = escaped.split(b"\\")
    return first + b"".join(bytes([int(one[:3], 8)]) + one[3:] for one in others)


def _is_below(path: bytes, places: list[bytes]) -> bool:
    return any(path == place or path.startswith(place.rstrip(b"/") + b"/") for place in places)


def _answers(path: bytes) -> bool:
    """Have a process look that is nobody's child here: nobody waits for the end of one that hangs.

    It is killed, and ends when the kernel lets it.
    """
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            looker = os.fork()
            if looker:
                os.write(tell, b"%d" % looker)
            else:
                os.path.exists(path)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    looker = int(os.read(told, 32))
    poll = select.poll()
    poll.register(told)  # closed when the looker has ended
    is_answer = bool(poll.poll(_PATIENCE))
    if not is_answer:
        os.kill(looker, signal.SIGKILL)
    os.close(told)
    return is_answer
