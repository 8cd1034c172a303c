"""A process that has loaded all that a supervisor consists of, and becomes one by a fork.

An interpreter takes 25 ms of processor time to start and load it; a fork takes one or two, and
shares its memory. The daemon asks through a socket on the standard input, one message a run, and
is told the new process's pid. It ends with the daemon: at the end of the socket.

A supervisor bears the mark of its run and names its directory in ``/proc``, however it was
started: by these it is found when nothing else is known of it.
"""

from __future__ import annotations

import gc
import os

from runner.supervisor import (
    descriptors,
    enclosure,  # noqa: F401 - what most runs load when they start
    processes,
    records,
)
from runner.supervisor.names import Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: The argument and the value of the mark with which it is started: room for those of a run.
DIRECTORY = b"-fork-server".ljust(400)
RUN = b"-".ljust(100)
#: Separates run and directory in a message.
SEPARATOR = b"\0"

_LONGEST = 1 << 12
_SOCKET = 0


def serve() -> bytes:
    """Fork at each message. Returns in the forked process: the directory to be supervised.

    The daemon reads a pid, or minus the number of an error. Ends the process when the daemon has
    closed its side.
    """
    descriptors.close_all()
    # Nobody waits for the supervisors here: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    run_room = Room(processes.MARK + b"=" + RUN, among_variables=True)
    directory_room = Room(DIRECTORY, among_variables=False)
    gc.freeze()  # a collection would write to pages that are shared
    while message := os.read(_SOCKET, _LONGEST):
        run_id, _, directory = message.partition(SEPARATOR)
        # Before the fork: there is no moment at which the new process cannot be found.
        run_room.write(processes.MARK + b"=" + run_id)
        directory_room.write(directory)
        answer = _fork(directory)
        if answer == 0:
            return directory
        run_room.clear()
        directory_room.clear()
        os.write(_SOCKET, b"%d" % answer)
    os._exit(0)


def _fork(directory: bytes) -> int:
    """Return the pid; in the new process 0; minus the number of an error."""
    try:
        log = os.open(
            os.path.join(directory, records.LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
    except OSError as error:
        return -(error.errno or 1)
    try:
        pid = os.fork()
    except OSError as error:
        return -(error.errno or 1)
    else:
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
        return pid
    finally:
        os.close(log)
