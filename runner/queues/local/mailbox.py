"""Reports in a directory beside that of the queue."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from runner.errors import QueueGone
from runner.queues.local.caretaker import Caretaker
from runner.queues.local.places import Places
from runner.queues.mailbox import Mailbox, response_name

#: Narrowed by the umask; who reads the reports may be another user of the group.
_MODE = 0o660


class LocalMailbox(Mailbox):
    """One file a report, whole or not at all; after a crash of the machine some may be missing.

    Names tell their order: files of one moment have one time.
    """

    def __init__(self, queue: str, caretaker: Caretaker) -> None:
        name = response_name(queue)
        super().__init__(name, name)
        self._places = Places.of(caretaker.root, name)
        self._caretaker = caretaker
        self._count = itertools.count()
        self._unique = secrets.token_hex(4)

    async def post(self, bodies: Sequence[bytes]) -> None:
        """Write them. Raises QueueGone, QueueUnavailable."""
        await self._caretaker.call(lambda: self._write(bodies))

    async def make(self) -> None:
        """Make the directory."""
        await self._caretaker.call(self._places.create_queue)

    def _write(self, bodies: Sequence[bytes]) -> None:
        directory = self._places.messages
        if not directory.is_dir():
            raise QueueGone(f"there is no directory {directory}")
        for body in bodies:
            name = f"{time.time_ns():020d}-{next(self._count):010d}-{self._unique}"
            # Hidden, it is no message to anybody.
            draft = directory / f".{name}"
            try:
                _write(draft, body)
                draft.rename(directory / name)
            except FileNotFoundError as error:
                raise QueueGone(f"the directory {directory} was removed") from error
            except OSError:
                draft.unlink(missing_ok=True)
                raise


def _write(path: Path, body: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(body)
