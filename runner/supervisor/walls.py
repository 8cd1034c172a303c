"""Has bubblewrap or Apptainer put up walls, and walks in: the experiment stays one of our children.

Both tell a signal only as 128 more, and die of the TERM that was meant for the experiment. So the
builder, as it is called here, holds the walls alone, with a shell that waits for the end. A second
process, the warden, enters its namespaces and forks: its child is in there, it stays out here and
ends as that ends. When the supervisor dies, so do the builder, the first process in there and, by
the kernel, all.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select

from runner.supervisor import processes, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Never
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: Says that the walls stand, and its number behind them; waits for the end of its input, then until
#: nobody else is behind them but the first process and itself. With its end all end.
_HOLD = (
    b"trap '' TERM INT HUP QUIT; echo $$; read -r _; "
    b"while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.05 || sleep 1; done 2> /dev/null"
)
_HOLDER = (b"/bin/sh", b"-c", _HOLD)
#: Walls that do not stand after so many seconds never will: a mount hangs.
_PATIENCE = 30.0
_LAST_WORDS = 2000
#: Apptainer's first words are red, whatever it is told.
_PAINT = ("\033[31m", "\033[0m")
#: Meant for the experiment, which has its own answers.
_NOT_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
#: Where bubblewrap writes what it made, after the three streams.
_FACTS = 3
_NS_GET_USERNS = 0xB701
_NAMESPACES = ("mnt", "ipc", "uts", "net", "pid")
#: Of the environment behind the walls, what says nothing but how they were put up.
_NOT_HANDED_ON = frozenset(
    {b"PWD", b"PS1", b"PROMPT_COMMAND", b"TERM", b"APPTAINER_BIND", b"SINGULARITY_BIND"}
)


class WallsFailed(OSError):
    """The walls cannot be put up; ``words`` is what their builder said."""

    def __init__(self, words: str) -> None:
        super().__init__(0, words)
        self.words = words


class Walls:
    """The pipes between who becomes the builder, who walks in, and the parent of both."""

    def __init__(self) -> None:
        #: The builder's pid, for who walks in.
        self.builder = 0
        #: What it reads while it is to stay, says when it is there, says else, and made.
        self._pipes = [list(os.pipe()) for _ in range(4)]
        # The supervisor never closes its end: the kernel does.
        self._line, self._anchor = os.pipe()

    def become(
        self, command: list[bytes], env: dict[bytes, bytes], parent: int, *, in_image: bool = False
    ) -> Never:
        """Become the builder, with its options, until who walked in has ended. Raises OSError."""
        theirs = [self._pipes[0][0], *(pipe[1] for pipe in self._pipes[1:])]
        for signum in _NOT_OURS:
            signal.signal(signum, signal.SIG_IGN)
        if in_image:
            from runner.supervisor import guardian  # noqa: PLC0415 - for runs in images alone

            parent = os.getpid()
            guardian.stand_between(self._line)
        # Out of the way of the numbers that they are to have.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 16) for one in theirs]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, number)
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        # Apptainer's options end with the image.
        last = () if in_image else (b"--info-fd", b"%d" % _FACTS, b"--")
        words = [*command, *last, *_HOLDER]
        os.execve(words[0], words, env)  # noqa: S606 - no shell is the point

    def walk_in(self, tell: int, parent: int, env: dict[bytes, bytes] | None = None) -> None:
        """Return behind the walls, in a new process that leads a session.

        With ``env`` an image's system lies there, whose environment is added to it.

        What called this, a child of ``parent``, closes ``tell``, waits for that process and ends as
        it does. Raises OSError.
        """
        os.close(self._anchor)
        hold = self._pipes[0].pop()
        first = self._wait(in_image=env is not None)
        self.close()
        if env is not None:
            _add_environment(env, first)
        _enter(first)
        # Not before: changes of credentials may end it.
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        pid = os.fork()
        if pid:
            os.close(tell)
            mirror(pid)
        os.close(hold)
        os.setsid()

    def close(self) -> None:
        """Close the pipes, but for the one end that holds the walls, where this walks in."""
        while self._pipes:
            for descriptor in self._pipes.pop():
                os.close(descriptor)

    def _wait(self, *, in_image: bool) -> int:
        """Return a process behind the walls, once they stand."""
        for pipe in self._pipes:
            if len(pipe) > 1:
                os.close(pipe.pop())
        ready, words, facts = (pipe[0] for pipe in self._pipes[1:])
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if poll.poll(_PATIENCE * 1000) and (number := os.read(ready, 32)):
            if in_image:
                return _numbered(self.builder, number.strip())
            return _first_process(os.read(facts, 4096))
        os.set_blocking(words, False)
        raise WallsFailed(_last_words(words))


def _last_words(pipe: int) -> str:
    try:
        said = os.read(pipe, _LAST_WORDS).decode(errors="replace").strip()
    except BlockingIOError:
        return f"nothing was heard of it within {_PATIENCE:.0f} s"
    for paint in _PAINT:
        said = said.replace(paint, "")
    return said.splitlines()[-1] if said else "it ended without a word"


def _first_process(facts: bytes) -> int:
    """Return the pid in bubblewrap's JSON; the module for that would cost more than the walls."""
    return int(facts.partition(b'"child-pid":')[2].split(b",")[0].split(b"}")[0])


def _numbered(builder: int, number: bytes) -> int:
    """Return the process below ``builder`` that has this number in a namespace of its own."""
    for process in processes.descendants(builder):
        pids = _numbers(process.pid)
        if len(pids) > 1 and pids[-1] == number:
            return process.pid
    raise WallsFailed("what it started cannot be found among its processes")


def _add_environment(env: dict[bytes, bytes], pid: int) -> None:
    """Lay the variables of ``pid`` below ``env``, and the directories of its PATH after ours."""
    with open(f"/proc/{pid}/environ", "rb", 0) as file:
        pairs = [item.partition(b"=") for item in file.read().split(b"\0")]
    theirs = {name: value for name, _, value in pairs if name and name not in _NOT_HANDED_ON}
    paths = (env.get(b"PATH"), theirs.get(b"PATH"))
    for name, value in theirs.items():
        env.setdefault(name, value)
    if all(paths):
        env[b"PATH"] = b":".join(path for path in paths if path)


def _numbers(pid: int) -> list[bytes]:
    """Return the pids of a process in our namespace and in those below it; none of one gone."""
    try:
        with open(f"/proc/{pid}/status", "rb", 0) as file:
            return file.read().partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
    except OSError:
        return []


def _enter(first: int) -> None:
    """Enter the namespaces of ``first``; of processes the next child alone does.

    There may be two user namespaces, one in the other: the mounts are the outer one's.
    """
    folder = f"/proc/{first}/ns"
    kinds = [kind for kind in _NAMESPACES if _is_another(folder, kind)]
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


def _is_another(folder: str, kind: str) -> bool:
    return os.readlink(f"{folder}/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def _is_ours(user_namespace: int) -> bool:
    return os.fstat(user_namespace).st_ino == os.stat("/proc/self/ns/user").st_ino


def mirror(pid: int) -> Never:
    """Wait for the process and end as it did."""
    for signum in _NOT_OURS:
        signal.signal(signum, signal.SIG_IGN)
    end_as(os.waitpid(pid, 0)[1])


def end_as(status: int) -> Never:
    """End as a process did that was waited for."""
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
