"""The script that minds a hook: ``python -I -S minder.py DAEMON REPORT PROGRAM [ARGUMENT...]``.

Whatever the hook starts becomes its child in the end, in whatever session and with whatever
variables. It ends all of that when the hook has ended, when it is told to (TERM), and when the
daemon of this pid has died; then it ends as the hook did. Why the program could not be executed it
writes to the descriptor REPORT.
"""

from __future__ import annotations

import os
import select
import sys
import time

# -I leaves out our own directory. Appended, so that nothing beside us can shadow the library.
sys.path.append(os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100 - pathlib takes 8 ms

from runner.supervisor import processes, syscalls
from runner.supervisor.walls import end_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Never
else:
    import _signal as signal  # the module around it imports enum: 8 ms

#: Between TERM and KILL, in seconds: a daemon that detaches has less than two.
GRACE = 1.0
#: Who survives KILL for so long hangs in the kernel.
HOPELESS = 5.0
_ROUND = 0.02
#: What the interpreter itself was started with, and the hook is not.
_OURS = ("LD_LIBRARY_PATH",)


def main() -> Never:
    """Start the hook, see to its end, and end as it did."""
    daemon, report, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    wake = _listen()
    syscalls.become_subreaper()
    syscalls.die_with_parent(signal.SIGTERM)
    if os.getppid() != daemon:  # it died before it could be noticed
        os._exit(1)
    pid = os.fork()
    if pid == 0:
        _become(argv, report)
    os.close(report)
    status = _watched(pid, wake)
    _end_all()
    if status >= 0:
        end_as(status)
    os._exit(128)


def _listen() -> int:
    """Have TERM and the end of children arrive at a pipe."""
    wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(signum, lambda *_: None)
    return wake


def _become(argv: list[str], report: int) -> Never:
    """Be the hook, in a session of its own."""
    try:
        os.setsid()
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # which this interpreter ignores
            signal.signal(signum, signal.SIG_DFL)
        os.set_inheritable(report, False)  # noqa: FBT003 - as the library has it
        env = {name: text for name, text in os.environ.items() if name not in _OURS}
        os.execvpe(argv[0], argv, env)  # noqa: S606 - the operator's, without a shell
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        os.write(report, os.fsencode(text))
    finally:
        os._exit(127)


def _watched(pid: int, wake: int) -> int:
    """Wait until the hook has ended, or should have by now; return its status, -1 for none."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    give_up = float("inf")
    while time.monotonic() < give_up:
        ended, status = _reaped(pid)
        if ended:
            return status
        left = give_up - time.monotonic()
        poll.poll(None if left == float("inf") else max(0.0, left) * 1000 + 1)
        if signal.SIGTERM in _told(wake) and give_up == float("inf"):
            give_up = time.monotonic() + GRACE
            _group(pid, signal.SIGTERM)
    return -1


def _reaped(pid: int) -> tuple[bool, int]:
    """Collect the dead; tell whether the hook was among them, and its status."""
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == pid:
                return True, found[1]
    except ChildProcessError:
        return True, -1
    return False, -1


def _told(wake: int) -> bytes:
    try:
        return os.read(wake, 512)
    except BlockingIOError:
        return b""


def _group(pid: int, signum: int) -> None:
    try:  # noqa: SIM105 - contextlib takes 4 ms
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left, or mightier ones are


def _end_all() -> None:
    """End whatever is left below us; every orphan there is our child."""
    members, give_up = processes.Members(root=os.getpid()), time.monotonic() + HOPELESS
    while processes.reap() and time.monotonic() < give_up:
        processes.kill(members)
        time.sleep(_ROUND)


if __name__ == "__main__":
    main()
