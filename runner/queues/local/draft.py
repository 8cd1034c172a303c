"""Publishing: a message appears in its queue whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runner.errors import NotQueued
from runner.queues.local.places import Places

#: Narrowed by the umask; a runner of the same group must be able to read it.
_MODE = 0o660


def write_message(places: Places, name: str, body: bytes) -> None:
    """Put ``body`` into the queue under ``name``, on the disk when this returns.

    Whoever may write to the queue but not to our own directory, because a runner of another user
    made it, writes in place as StudioML's clients do. Raises NotQueued where that fails and nothing
    is left of it, as on a full disk; OSError.
    """
    target = places.messages / name
    draft = places.drafts / name
    try:
        places.create_queue()
        try:
            places.prepare()
            _write(draft, body)
            draft.rename(target)
        except PermissionError:
            _write(target, body)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        target.unlink(missing_ok=True)
        raise NotQueued(f"{places.messages} takes no message: {error.strerror}") from error
    _sync_directory(places.messages)


def _write(path: Path, body: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(handle)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
