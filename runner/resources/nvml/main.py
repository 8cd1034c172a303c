"""The process that asks the driver: ``python -I -S main.py DIRECTORY_OF_PYNVML``.

It lives as long as its standard input is open. A line there is ``NUMBER RECEIVED``: the number of
the question, and that of the last answer that arrived; each gets one line of JSON with its number.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

# -I leaves out our own directory, -S the installed packages. Appended, so that nothing there can
# shadow the library.
sys.path += [str(Path(__file__).parents[3]), *sys.argv[1:2]]

from runner.resources.nvml.driver import Driver

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until nobody asks any more."""
    _die_with_the_daemon()
    driver = Driver()
    for line in sys.stdin.buffer:
        number, received = map(int, line.split())
        sys.excepthook = _tell(number)
        found = driver.look(number, received)
        _print({"number": number, **found})
        if driver.is_stale:
            break
    # Undoing what the library has set up may hang, and the kernel does it as well.
    os._exit(0)


def _die_with_the_daemon() -> None:
    """The end of the input ends us, but not while we hang in the driver."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if _is_orphan():  # it was killed before that
        os._exit(0)


def _is_orphan() -> bool:
    poll = select.poll()
    poll.register(0, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _tell(number: int) -> Any:
    """Return what answers, for the last time, when we are wrong about what the driver says."""

    def tell(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        place = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at else ""
        _print({"number": number, "error": f"the question failed: {kind.__name__} {error}{place}"})

    return tell


if __name__ == "__main__":
    main()
