"""What an installer's last words mean: whose fault it is, and what a person is told. Pure."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from runner.environments.sources import redact
from runner.errors import HostFault, OutOfDisk, RequirementsFailed, RunnerError, Unavailable

#: Lines of the installer's output that are shown.
SHOWN = 40
_WIDEST = 400

_DISK_FULL = ("No space left on device", "os error 28", "Disk quota exceeded")
#: The system gives the installer no more threads, processes, files or memory.
_SHORT = ("Resource temporarily unavailable", "(os error 11)", "(os error 12)", "(os error 24)")
_NO_ANSWER = (
    "error sending request",
    "dns error",
    "tcp connect error",
    "Connection refused",
    "operation timed out",
    "error trying to connect",
    "503 Service Unavailable",
    "502 Bad Gateway",
    "504 Gateway",
    "429 Too Many Requests",
)


def last_lines(text: str) -> str:
    """Return the end of the installer's output as it may be shown: bounded, without passwords."""
    lines = [line.rstrip() for line in redact(text).splitlines() if line.strip()]
    cut = [line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…" for line in lines]
    return "\n".join(cut[-SHOWN:])


def explain(text: str, addresses: Iterable[str] = ()) -> RunnerError:
    """Return the error that an installer's output stands for.

    ``addresses`` are those that the sender wrote: when one of them does not answer the requirement
    is wrong, when the operator's index does not it is tried again later.
    """
    shown = last_lines(text)
    if any(sign in text for sign in _DISK_FULL):
        return OutOfDisk(f"no space is left for the environment:\n{shown}")
    if any(sign in text for sign in _SHORT):
        return HostFault(f"this machine lets the installer have too little (ulimit -a):\n{shown}")
    hosts = {urlsplit(address.removeprefix("git+")).hostname for address in addresses}
    theirs = any(host and host in text for host in hosts)
    if no_answer(text) and not theirs:
        return Unavailable(f"the package index does not answer:\n{shown}")
    return RequirementsFailed(f"the requirements could not be installed:\n{shown}")


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise HostFault where our own files cannot be used, OutOfDisk where they find no space."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OutOfDisk("no space is left for environments") from error
        raise HostFault(f"environments cannot be kept: {error}") from error


def no_answer(text: str) -> bool:
    """Tell whether some server did not answer."""
    return any(sign in text for sign in _NO_ANSWER)
