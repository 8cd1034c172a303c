"""How often each message was handed out, kept from one claim to the next."""

from __future__ import annotations

import os

from runner import own_files
from runner.queues.local import names
from runner.queues.local.places import Places, listed

#: Nobody waits for whoever might read from a pipe in its place.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC


def read(places: Places, name: str) -> int:
    """Return how often the message was handed out so far."""
    try:
        return max(0, int(own_files.read(places.received / name)))
    except (OSError, ValueError):
        return 0


def write(places: Places, name: str, times: int) -> None:
    """Remember how often the message was handed out; 0 forgets it."""
    path = places.received / name
    if times == 0:
        path.unlink(missing_ok=True)
    else:
        with os.fdopen(os.open(path, _FLAGS, 0o666), "wb") as file:
            file.write(str(times).encode())


def sweep(places: Places) -> None:
    """Remove counts of messages that others took out of the queue.

    A message that moves just now may be overlooked and be counted from the start again.
    """
    counted = listed(places.received)
    if not counted:
        return
    present, _ = places.look(counted)
    present.update(names.message_of(token) for token in listed(places.claims))
    delayed = (names.delayed_of(file_name) for file_name in listed(places.delayed))
    present.update(found.name for found in delayed if found)
    for name in counted:
        if name not in present:
            write(places, name, 0)
