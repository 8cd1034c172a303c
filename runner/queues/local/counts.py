"""How often each message was handed out, kept from one claim to the next."""

from __future__ import annotations

from runner.queues.local import names
from runner.queues.local.places import Places, listed


def read(places: Places, name: str) -> int:
    """Return how often the message was handed out so far."""
    try:
        return max(0, int((places.received / name).read_bytes()))
    except (FileNotFoundError, ValueError):
        return 0


def write(places: Places, name: str, times: int) -> None:
    """Remember how often the message was handed out; 0 forgets it."""
    path = places.received / name
    if times == 0:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(str(times).encode())


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
