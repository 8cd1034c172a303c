"""A script that exits with 0 where what it tries is possible, else with 1 and the reason.

``probe.py``: read-only binds, and hiding a file and a directory; says ``processes`` where a run can
have a namespace of them besides. ``probe.py LOWER DIRECTORY``:
directories of LOWER laid under changes that go to DIRECTORY, which is empty, and LOWER hidden;
with UID and GID besides, the files of LOWER shown as that user's.
Both in a user namespace unless this is root.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import mapped, syscalls

_HERE = os.fsencode(os.path.dirname(os.path.abspath(__file__)))


def _own_mounts() -> bool:
    is_root = os.geteuid() == 0
    if not is_root:
        syscalls.leave_user_namespace()
    syscalls.leave_mount_namespace()
    return is_root


def _hide() -> None:
    _own_mounts()
    syscalls.bind_readonly(_HERE)
    syscalls.hide(os.fsencode(os.path.abspath(__file__)), [])
    syscalls.hide(os.path.dirname(_HERE), [_HERE])
    os.stat(_HERE)


def _processes() -> None:
    """Say whether they can be had; where mounts can be made and these not, in some containers."""
    try:
        syscalls.new_processes()
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.mount_processes()
                os._exit(0)
            finally:
                os._exit(1)
    except OSError:
        return
    if os.waitpid(pid, 0)[1] == 0:
        sys.stdout.write("processes")


def _overlay(lower: bytes, directory: bytes, *identity: int) -> None:
    target, upper, work = (os.path.join(directory, name) for name in (b"target", b"upper", b"work"))
    for path in (target, upper, work):
        os.mkdir(path)
    is_root = _own_mounts()
    if identity:
        mapped.show_as(lower, (identity[0], identity[1]))
        if os.stat(lower).st_uid != identity[0]:
            raise OSError("the file system shows files as they are")
    syscalls.mount_overlay(target, lower, upper, work, privileged=is_root)
    syscalls.hide(lower, [])
    syscalls.bind_readonly(_HERE)
    with open(os.path.join(target, b"written"), "wb", 0) as file:
        file.write(b"x")
    os.stat(os.path.join(upper, b"written"))


if __name__ == "__main__":
    try:
        if len(sys.argv) > 1:
            lower, directory = map(os.fsencode, sys.argv[1:3])
            _overlay(lower, directory, *map(int, sys.argv[3:]))
        else:
            _hide()
            _processes()
    except OSError as error:
        sys.exit(str(error))
