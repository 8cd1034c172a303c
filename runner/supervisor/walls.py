"""Has bubblewrap put up walls, and walks in: the experiment stays the child of one of ours.

Bubblewrap tells a signal only as 128 more, and dies of the TERM that was meant for the experiment.
So it holds the walls alone, with a shell that waits for the end. A second process, the warden,
enters its namespaces and forks: its child is in there, it stays out here and ends as that ends.
When the supervisor dies, so do bubblewrap, the first process in there and, by the kernel, all.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select

from runner.supervisor import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Never
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: Says that the walls stand, waits for the end of its input, then until nobody else is behind them
#: but the first process and itself. With its end bubblewrap ends everybody.
_HOLD = b"echo; read -r _; while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.05; done"
_HOLDER = (b"--", b"/bin/sh", b"-c", _HOLD)
#: Walls that do not stand after so many seconds never will: a mount hangs.
_PATIENCE = 30.0
_LAST_WORDS = 500
#: Meant for the experiment, which has its own answers.
_NOT_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Where bubblewrap writes what it made, after the three streams.
_FACTS = 3
_NS_GET_USERNS = 0xB701


class WallsFailed(OSError):
    """The walls cannot be put up; ``words`` is what bubblewrap said."""

    def __init__(self, words: str) -> None:
        super().__init__(0, words)
        self.words = words


class Walls:
    """The pipes between who becomes bubblewrap, who walks in, and the parent of both."""

    def __init__(self) -> None:
        #: What bubblewrap reads while it is to stay, says when it is there, says else, and made.
        self._pipes = [list(os.pipe()) for _ in range(4)]

    def become(self, command: list[bytes], env: dict[bytes, bytes], parent: int) -> Never:
        """Become bubblewrap, with its options, until who walked in has ended. Raises OSError."""
        theirs = [self._pipes[0][0], *(pipe[1] for pipe in self._pipes[1:])]
        for signum in _NOT_OURS:
            signal.signal(signum, signal.SIG_IGN)
        # Out of the way of the numbers that they are to have.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 16) for one in theirs]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, number)
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        words = [*command, b"--info-fd", b"%d" % _FACTS, *_HOLDER]
        os.execve(words[0], words, env)  # noqa: S606 - no shell is the point

    def walk_in(self, tell: int, parent: int) -> None:
        """Return behind the walls, in a new process that leads a session.

        What called this, a child of ``parent``, closes ``tell``, waits for that process and ends as
        it does. Raises OSError.
        """
        hold = self._pipes[0].pop()
        first = self._wait()
        self.close()
        _enter(first)
        # Not before: changes of credentials may end it.
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        pid = os.fork()
        if pid:
            os.close(tell)
            _mirror(pid)
        os.close(hold)
        os.setsid()

    def close(self) -> None:
        """Close the pipes, but for the one end that holds the walls, where this walks in."""
        while self._pipes:
            for descriptor in self._pipes.pop():
                os.close(descriptor)

    def _wait(self) -> int:
        """Return the first process behind the walls, once they stand."""
        for pipe in self._pipes:
            if len(pipe) > 1:
                os.close(pipe.pop())
        ready, words, facts = (pipe[0] for pipe in self._pipes[1:])
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if poll.poll(_PATIENCE * 1000) and os.read(ready, 1):
            return _first_process(os.read(facts, 4096))
        os.set_blocking(words, False)
        raise WallsFailed(_last_words(words))


def _last_words(pipe: int) -> str:
    try:
        said = os.read(pipe, _LAST_WORDS).decode(errors="replace").strip()
    except BlockingIOError:
        return f"nothing was heard of it within {_PATIENCE:.0f} s"
    return said.splitlines()[-1] if said else "it ended without a word"


def _first_process(facts: bytes) -> int:
    """Return the pid in bubblewrap's JSON; the module for that would cost more than the walls."""
    return int(facts.partition(b'"child-pid":')[2].split(b",")[0].split(b"}")[0])


def _enter(first: int) -> None:
    """Enter the namespaces of ``first``; of processes the next child alone does.

    Bubblewrap may have made two user namespaces, one in the other: the mounts are the outer one's.
    """
    folder = f"/proc/{first}/ns"
    kinds = ("mnt", "ipc", "uts", "pid")
    spaces = [os.open(f"{folder}/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    user = os.open(f"{folder}/user", os.O_RDONLY | os.O_CLOEXEC)
    owner = fcntl.ioctl(spaces[0], _NS_GET_USERNS)
    try:
        if not _is_ours(owner):
            syscalls.enter_namespace(owner)
        for space in spaces:
            syscalls.enter_namespace(space)
        if os.fstat(user).st_ino != os.fstat(owner).st_ino:
            syscalls.enter_namespace(user)
    finally:
        for descriptor in (*spaces, user, owner):
            os.close(descriptor)


def _is_ours(user_namespace: int) -> bool:
    return os.fstat(user_namespace).st_ino == os.stat("/proc/self/ns/user").st_ino


def _mirror(pid: int) -> Never:
    """Wait for the process and end as it did."""
    for signum in _NOT_OURS:
        signal.signal(signum, signal.SIG_IGN)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own is enough
        _die_of(-code)
    os._exit(code)


def _die_of(signum: int) -> Never:
    if signum not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)
