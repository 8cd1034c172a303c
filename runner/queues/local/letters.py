"""Dead letters: the message as it was, and beside it why and when it was buried."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from runner import own_files
from runner.model import Message
from runner.own_files import Count, Moment
from runner.queues.drawer import DeadLetter
from runner.queues.local import names
from runner.queues.local.places import Places, free_name, listed

_PRIVATE_FILE = 0o600


@dataclass(frozen=True, slots=True)
class Letter:
    """What is written beside a dead letter."""

    #: The message's name when it was buried; that of its file where no other letter has it.
    message: str
    reason: str
    #: Seconds since the epoch.
    buried_at: Moment
    receive_count: Count


def written_now(message: str, reason: str, receive_count: int) -> Letter:
    """Return what is to be written beside a message that is buried now."""
    return Letter(message, reason, time.time(), receive_count)


def aborted(message: str, receive_count: int) -> Letter:
    """Return the letter of a message that has no queue to go back to."""
    return written_now(message, "its queue was deleted while a runner held it", receive_count)


def put(places: Places, source: Path, letter: Letter) -> None:
    """Move ``source`` to the dead letters. Raises FileNotFoundError when it is gone.

    The reason is on the disk before the message moves: a crash in between leaves the message with
    its holder, and a reason without a message, which ``all_of`` does not show.
    """
    name = _reserve(places.dead, letter)
    reason = places.dead / (name + names.REASON)
    try:
        source.rename(places.dead / name)
    except BaseException:
        reason.unlink(missing_ok=True)
        raise
    with suppress(PermissionError):  # another user's file; the directory is private anyway
        (places.dead / name).chmod(_PRIVATE_FILE)


def all_of(places: Places) -> list[DeadLetter]:
    """Return the dead letters, oldest burial first."""
    found = [_read(places, name) for name in listed(places.dead) if not name.endswith(names.REASON)]
    present = [letter for letter in found if letter is not None]
    return sorted(present, key=lambda letter: (letter.buried_at, letter.message.id))


def revive(places: Places, name: str) -> bool:
    """Make the dead letter a waiting message again; ``False`` when there is none of that name."""
    if not names.is_message(name) or not (places.dead / name).is_file():
        return False
    places.create_queue()
    try:
        (places.dead / name).rename(places.messages / free_name(places.messages, name))
    except FileNotFoundError:
        return False
    (places.dead / (name + names.REASON)).unlink(missing_ok=True)
    return True


def _reserve(directory: Path, letter: Letter) -> str:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    name = free_name(directory, letter.message)
    while True:
        try:
            handle = os.open(directory / (name + names.REASON), flags, _PRIVATE_FILE)
        except FileExistsError:
            name = names.another(letter.message)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(letter)))
            file.flush()
            os.fsync(handle)
        return name


def _read(places: Places, name: str) -> DeadLetter | None:
    try:
        body = own_files.read(places.dead / name)
    except OSError:
        return None
    letter = _reason_of(places.dead / (name + names.REASON), name)
    message = Message(name, body, places.queue, letter.receive_count)
    return DeadLetter(message, letter.reason, letter.buried_at)


def _reason_of(path: Path, name: str) -> Letter:
    try:
        return own_files.read_as(path, Letter)
    except (OSError, ValueError):  # somebody removed or edited it
        return Letter(name, "the reason was lost", time.time(), 1)
