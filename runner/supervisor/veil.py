"""The script that a build of packages starts through: it hides what is not for other people's code.

``veil.py IDENTITY COUNT GROUPS… COUNT HIDDEN… COUNT VISIBLE… COUNT WALLS… PROGRAM…`` becomes
PROGRAM, in mounts of its own and in these control groups. As root IDENTITY is ``UID:GID``, else
``-``. WALLS is bubblewrap with its options, or none. Behind walls, or where it has a namespace of
processes, PROGRAM is a child, and this ends as it does, with all that it left. What cannot be had
ends it with a sentence and 126.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import fence, groups, remote, syscalls
from runner.supervisor.enclosure import Enclosure
from runner.supervisor.walls import Walls

_FAILED = 126
_OURS = b"STUDIO_RUNNER_"
_CWD = os.getcwd()


def _counted(words: list[bytes]) -> list[bytes]:
    count = int(words.pop(0))
    taken = words[:count]
    del words[:count]
    return taken


def _veil(hidden: list[bytes], visible: list[bytes]) -> None:
    if os.geteuid() != 0:
        syscalls.leave_user_namespace()
    syscalls.leave_mount_namespace()
    for path in remote.answering(hidden):
        syscalls.hide(path, visible)


def _walled(hidden: list[bytes], visible: list[bytes], command: list[bytes]) -> None:
    """Go on behind walls, in another process; what is hidden is so for who puts them up."""
    walls, parent = Walls(), os.getpid()
    if os.fork() == 0:
        try:
            _veil(hidden, visible)
            # Of its variables it has those alone by which a build's processes are found.
            env = {name: value for name, value in os.environb.items() if name.startswith(_OURS)}
            walls.become(command, env, parent)
        except OSError as error:
            _complain(error)
        finally:
            os._exit(_FAILED)
    walls.walk_in(os.open(os.devnull, os.O_RDONLY), os.getppid())
    syscalls.keep_few_powers()


def _enclosed(hidden: list[bytes], visible: list[bytes]) -> None:
    """Go on with processes of its own, in another process; this one waits until none is left."""
    enclosure, parent = Enclosure(), os.getpid()
    syscalls.become_subreaper()
    pid = os.fork()
    if pid == 0:
        _veil(hidden, visible)
        try:
            enclosure.walk_in(os.open(os.devnull, os.O_RDONLY), parent)
        except OSError:
            if os.getppid() != parent:
                raise
            # Not in this container: it has mounts of its own, and that has to do.
        return
    enclosure.outlast(pid)


def _complain(error: OSError) -> None:
    sys.stderr.write(f"the build cannot be kept from this machine's credentials: {error}\n")
    sys.stderr.flush()


def _become(identity: bytes) -> None:
    if identity == b"-":
        return
    uid, gid = map(int, identity.split(b":"))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    identity, *words = map(os.fsencode, sys.argv[1:])
    syscalls.leave_keyring()
    try:
        for group in _counted(words):
            groups.write(os.fsdecode(group) + "/cgroup.procs", 0)
        hidden, visible, command = _counted(words), _counted(words), _counted(words)
        if command:
            _walled(hidden, visible, command)
        else:
            _enclosed(hidden, visible)
        _become(identity)
        syscalls.forbid_new_privileges()
        fence.put_up()
        # The directory may lie below what is hidden now: enter it anew, by its name.
        os.chdir(_CWD)
        os.execv(words[0], words)  # noqa: S606 - no shell is the point
    except OSError as error:
        _complain(error)
        sys.exit(_FAILED)
