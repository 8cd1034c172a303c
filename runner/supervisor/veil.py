"""The script that a build of packages starts through: it hides what is not for other people's code.

``veil.py IDENTITY COUNT HIDDEN… COUNT VISIBLE… PROGRAM…`` becomes PROGRAM, in mounts of its own. As
root IDENTITY is ``UID:GID``, else ``-``. What cannot be hidden ends it with a sentence and 126.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import syscalls

_FAILED = 126


def _counted(words: list[bytes]) -> list[bytes]:
    count = int(words.pop(0))
    taken = words[:count]
    del words[:count]
    return taken


def _veil(hidden: list[bytes], visible: list[bytes]) -> None:
    if os.geteuid() != 0:
        syscalls.leave_user_namespace()
    syscalls.leave_mount_namespace()
    for path in hidden:
        syscalls.hide(path, visible)


def _become(identity: bytes) -> None:
    if identity == b"-":
        return
    uid, gid = map(int, identity.split(b":"))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    identity, *words = map(os.fsencode, sys.argv[1:])
    try:
        _veil(_counted(words), _counted(words))
        _become(identity)
        syscalls.forbid_new_privileges()
        # The directory may lie below what is hidden now: enter it anew, by its name.
        os.chdir(os.getcwd())
        os.execv(words[0], words)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"the build cannot be kept from this machine's credentials: {error}\n")
        sys.exit(_FAILED)
