"""Gives a run processes of its own: it sees no others, and the kernel ends all with the first one.

Whatever leaves its session, clears its variables or kills what is there stays in the namespace, and
the namespace ends when the experiment and all that it left have ended, or with the supervisor. The
first process in there is one of ours and does nothing but wait; the experiment is another one, so
that signals mean to it what they mean anywhere. It has powers that the experiment has not, so the
kernel keeps the one from looking into the other, also where both are one user's.
"""

from __future__ import annotations

import errno
import os
import select

from runner.supervisor import syscalls
from runner.supervisor.walls import end_as, mirror

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Never
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: Milliseconds between two looks for what the experiment has left.
_LOOK = 20
_READY = 0
#: The kernel gives the next process the number after the one that is written there.
_LAST_PID = "/proc/sys/kernel/ns_last_pid"


class Enclosure:
    """The line between the supervisor and the first process: when it is cut, all end."""

    def __init__(self) -> None:
        # The supervisor never closes its end: the kernel does.
        self._line, self._anchor = os.pipe()

    def walk_in(self, tell: int, parent: int) -> None:
        """Return in there, in a new process that leads a session.

        What called this, a child of ``parent`` with mounts of its own, closes ``tell``, waits for
        that process and ends as it does. Raises OSError.
        """
        os.close(self._anchor)
        syscalls.new_processes()
        hold, held = os.pipe()
        told, ready = os.pipe()
        number = os.getpid()
        if os.fork() == 0:
            _be_first(self._line, hold, ready, number)
        for descriptor in (self._line, hold, ready):
            os.close(descriptor)
        _wait_for(told)
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        pid = os.fork()
        if pid:
            os.close(tell)
            mirror(pid)  # its end closes ``held``
        os.close(held)
        os.setsid()

    def close(self) -> None:
        """Close the far end of the line, in the supervisor."""
        os.close(self._line)

    def outlast(self, pid: int) -> Never:
        """Wait for who walked in, end what it left, and end as it did when nobody is left.

        Only for who becomes the parent of all that it started.
        """
        os.close(self._line)
        _, status = os.waitpid(pid, 0)
        os.close(self._anchor)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            end_as(status)


def _wait_for(told: int) -> None:
    """Return when the first process is ready. Raises OSError."""
    answer = os.read(told, 1) or bytes([errno.ECHILD])
    os.close(told)
    if answer[0] != _READY:
        raise OSError(answer[0], os.strerror(answer[0]))


def _be_first(line: int, hold: int, ready: int, number: int) -> Never:
    """Collect the dead until the line is cut, or the experiment has ended and nobody is left."""
    code = 1
    try:
        # The kernel collects orphans then; no signal from in here reaches us.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.chdir("/")  # the supervisor's directory is nothing to find by our links
        _show_processes(ready, number)
        _keep_only(line, hold)
        _stay(line, hold)
        code = 0
    finally:
        os._exit(code)


def _show_processes(ready: int, number: int) -> None:
    try:
        syscalls.mount_processes()
        # Numbers begin where no other run's do: names of files in /tmp are often made of them.
        try:
            with open(_LAST_PID, "wb", 0) as file:
                file.write(b"%d" % number)
        except OSError:
            pass  # they begin with 2
    except OSError as error:
        os.write(ready, bytes([error.errno or errno.EINVAL]))
        raise
    os.write(ready, bytes([_READY]))


def _keep_only(*descriptors: int) -> None:
    """Hold nobody else's pipes, the experiment's output among them."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in descriptors:  # noqa: PLR2004 - the streams
            try:
                os.close(int(name))
            except OSError:
                pass  # the descriptor of the listing itself


def _stay(line: int, hold: int) -> None:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    poll.register(hold, select.POLLIN)
    while not {found for found, _ in poll.poll()} & {line, hold}:
        pass
    poll.unregister(hold)
    while _is_anybody_left() and not poll.poll(_LOOK):
        pass


def _is_anybody_left() -> bool:
    return any(name.isdigit() and name != "1" for name in os.listdir("/proc"))
