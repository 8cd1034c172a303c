"""A script that exits with 0 where read-only binds are possible, else with 1 and the reason."""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor import syscalls

if __name__ == "__main__":
    try:
        syscalls.leave_mount_namespace()
        syscalls.bind_readonly(os.fsencode(os.path.dirname(os.path.abspath(__file__))))
    except OSError as error:
        sys.exit(str(error))
