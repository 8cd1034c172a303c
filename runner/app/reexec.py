"""The daemon executed anew in place: the same process, whatever program lies there now."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from runner import log
from runner.app.rehearsal import command
from runner.handover import Locks

_log = log.get_logger(__name__)

#: What the daemon heeds; held back while there is nobody to heed them.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_OPEN_FILES = Path("/proc/self/fd")


class Reexec:
    """What must survive: the locks, and signals that came too late for us to act upon."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        #: We are the next daemon of a process that had one.
        self.has_happened = locks.were_kept
        self._begun = threading.Lock()
        #: Returns the signals that came since it is wanted.
        self.late: Callable[[], Sequence[signal.Signals]] = tuple
        #: Told right before.
        self.last_words: Callable[[], None] = lambda: None
        self.is_wanted = False
        #: Where the interpreter notes each signal that comes after that; -1: nowhere yet.
        self._noted = -1

    def want(self) -> None:
        """Let no lock and no signal go from now on; ``execute`` follows. On the main thread.

        The loop may not turn again to tell us of a signal, and one may meet a thread of a library.
        """
        self.is_wanted = True
        self._locks.keep()
        self._noted, note = os.pipe()
        os.set_blocking(self._noted, False)
        os.set_blocking(note, False)
        signal.set_wakeup_fd(note, warn_on_full_buffer=False)

    @contextmanager
    def executed_after(self) -> Iterator[None]:
        """Execute after the block where that is wanted by then, whatever went wrong in leaving."""
        try:
            yield
        finally:
            if self.is_wanted:
                trouble = sys.exception()
                if trouble is not None:
                    _log.error("something went wrong in leaving", exc_info=trouble)
                self.execute()

    def execute(self) -> NoReturn:
        """Become the next daemon; usable in any thread.

        Signals stay blocked until the next daemon heeds them, and are pending until then: so none
        is lost, also where we are pid 1, to which an unheeded one is not even delivered.
        """
        self._begun.acquire()  # for good: a second thread waits here until the first ends it
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.last_words()
        _close_on_exec()
        self._locks.pass_on(os.environ)
        with suppress(OSError, ValueError):  # nobody reads it any more
            sys.stdout.flush()
            sys.stderr.flush()
        for number in (*self.late(), *self._signals_noted()):
            signal.raise_signal(number)
        try:
            os.execve(sys.executable, command(), os.environ)  # noqa: S606 - our own command line
        except OSError as error:
            _log.critical("the daemon cannot be executed: start it again", trouble=str(error))
            os._exit(1)

    def _signals_noted(self) -> list[signal.Signals]:
        """Return those that came since it is wanted and were told to nobody."""
        try:
            noted = os.read(self._noted, 4096)
        except OSError:  # none, or nobody wanted it
            return []
        return [number for number in SIGNALS if number in noted]


def heed_again() -> None:
    """Let the signals come that were held back across the exec."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _close_on_exec() -> None:
    """Whatever a library has left open for its children ends with us."""
    with suppress(OSError):
        for entry in list(_OPEN_FILES.iterdir()):
            if int(entry.name) > 2:  # noqa: PLR2004 - stderr
                with suppress(OSError):
                    fcntl.fcntl(int(entry.name), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
