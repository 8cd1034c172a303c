"""Which names in a queue root mean what. Pure: no file is looked at here."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from runner.errors import Misconfigured

#: All that the runner keeps below a queue root lies in this one directory, on the same file system.
#: Hidden, so that no StudioML worker takes it for a message or for a queue.
STATE = ".studio-runner"
#: The state of messages that lie directly in the root; no queue can have a hidden name.
FLAT_STATE = ".flat"
#: The name under which 0.0.44 clients know the queue whose messages lie directly in the root.
FLAT_QUEUE = "local"
#: What a 0.0.44 client creates in the root when it first uses its queue.
FLAT_MARKER = "is_active.queue"
#: The lock file of 0.0.49 clients.
LOCK = "lock.lock"
#: Follows the name of a dead letter.
REASON = ".reason.json"

_LONGEST_QUEUE = 255
#: Leaves room for what a claim adds to the name, within the 255 bytes of a file name.
_LONGEST_MESSAGE = 200


class Delayed(NamedTuple):
    """A message hidden until ``due``."""

    #: Milliseconds since the epoch: the delay must survive a restart and a move to another host.
    due: int
    name: str


def is_message(name: str) -> bool:
    """Tell whether a regular file of this name can be a message.

    Names that are hidden, a lock, a marker or a temporary are not; nor are those that could not be
    shown in a log line, or that leave no room for a claim's name.
    """
    if name.startswith(".") or name == LOCK or name.endswith((".queue", ".tmp")):
        return False
    return _is_plain(name) and len(name.encode()) <= _LONGEST_MESSAGE


def is_queue(name: str) -> bool:
    """Tell whether a directory of this name can be a queue."""
    if not name or name.startswith("."):
        return False
    return _is_plain(name) and len(name.encode()) <= _LONGEST_QUEUE


def checked_queue(name: str) -> str:
    """Return ``name`` if it can be a queue's. Raises Misconfigured."""
    if is_queue(name):
        return name
    raise Misconfigured(
        f"{name[:80]!r} cannot be the name of a local queue: it must be one visible directory name "
        f"of at most {_LONGEST_QUEUE} bytes, without '/' and control characters"
    )


def claim_of(name: str) -> str:
    """Return a fresh file name for a claim; no two claims ever share one."""
    return f"{name}~{secrets.token_hex(8)}"


def message_of(claim: str) -> str:
    """Return the message's name; empty when ``claim`` is no claim's file name."""
    name, _, unique = claim.rpartition("~")
    return name if unique and is_message(name) else ""


def delayed_until(due: int, name: str) -> str:
    """Return the file name under which a message waits for ``due`` (milliseconds)."""
    return f"{due}~{secrets.token_hex(4)}~{name}"


def delayed_of(file_name: str) -> Delayed | None:
    """Read a file name made by ``delayed_until``."""
    due, _, rest = file_name.partition("~")
    _, _, name = rest.partition("~")
    if not (due.isascii() and due.isdigit() and is_message(name)):
        return None
    return Delayed(int(due), name)


def another(name: str) -> str:
    """Return a name for a message whose own name is taken by a newer one."""
    stem = name.encode()[:180].decode(errors="ignore")
    return f"{stem}.{secrets.token_hex(4)}"


def _is_plain(name: str) -> bool:
    return name.isprintable() and "/" not in name
