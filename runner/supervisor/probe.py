"""A script that exits with 0 where what it tries is possible, else with 1 and the reason.

``probe.py``: read-only binds, and hiding a file and a directory. ``probe.py LOWER DIRECTORY``:
directories of LOWER laid under changes that go to DIRECTORY, which is empty, and LOWER hidden.
Both in a user namespace unless this is root.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import syscalls

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


def _overlay(lower: bytes, directory: bytes) -> None:
    target, upper, work = (os.path.join(directory, name) for name in (b"target", b"upper", b"work"))
    for path in (target, upper, work):
        os.mkdir(path)
    is_root = _own_mounts()
    syscalls.mount_overlay(target, lower, upper, work, privileged=is_root)
    syscalls.hide(lower, [])
    syscalls.bind_readonly(_HERE)
    with open(os.path.join(target, b"written"), "wb", 0) as file:
        file.write(b"x")
    os.stat(os.path.join(upper, b"written"))


if __name__ == "__main__":
    try:
        if len(sys.argv) > 1:
            _overlay(*(os.fsencode(path) for path in sys.argv[1:]))
        else:
            _hide()
    except OSError as error:
        sys.exit(str(error))
