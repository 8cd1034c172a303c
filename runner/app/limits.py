"""What the system lets this process have at all: too little of it, and every experiment fails."""

from __future__ import annotations

import resource
import threading
from contextlib import suppress

from runner.errors import Misconfigured
from runner.model import Bytes

#: A daemon with a few experiments has half as many open.
FILES = 256
#: Of a daemon; experiments and what builds their environments come on top of them.
THREADS = 64
#: Environments have files nearly as large.
FILE_SIZE = Bytes(1 << 30)


def check() -> None:
    """Raise Misconfigured where the daemon could begin experiments, and end none of them well."""
    files, size = (_soft(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE))
    if files is not None and files < FILES:
        raise Misconfigured(
            f"this process may have {files} files open, and needs {FILES} at least: "
            "LimitNOFILE=65536 in the service's unit, or ulimit -n 65536"
        )
    if size is not None and size < FILE_SIZE:
        raise Misconfigured(
            f"files that this process and its experiments write may have {size} bytes, which cuts "
            "environments and results short: LimitFSIZE=infinity in the service's unit, or "
            "ulimit -f unlimited"
        )
    started = _started(THREADS)
    if started < THREADS:
        raise Misconfigured(
            f"no more than {started} threads can be started here, and {THREADS} are needed: "
            "LimitNPROC=infinity and TasksMax=infinity in the service's unit, ulimit -u, or "
            "fewer other processes of this user"
        )


def _soft(limit: int) -> int | None:
    soft, _ = resource.getrlimit(limit)
    return None if soft == resource.RLIM_INFINITY else soft


def _started(wanted: int) -> int:
    """Return how many threads there can be at once, of so many."""
    end = threading.Event()
    threads = list[threading.Thread]()
    with suppress(RuntimeError):  # as the threading module says it
        for _ in range(wanted):
            thread = threading.Thread(target=end.wait)
            thread.start()
            threads.append(thread)
    end.set()
    for thread in threads:
        thread.join()
    return len(threads)
