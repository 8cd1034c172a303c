"""Dead letters as files, for queues whose owner gave the broker no place for them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runner import log, own_files
from runner.errors import OutOfDisk, host_fault
from runner.model import Bytes, Message
from runner.own_files import Count, Moment

_log = log.get_logger(__name__)

#: The directory of letters, below the state directory.
DEAD_LETTERS = "dead-letters"
_END = ".json"
_PART = ".part"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A buried message with the reason it was buried for."""

    message: Message
    reason: str
    #: Seconds since the epoch.
    buried_at: float


@dataclass(frozen=True, slots=True)
class _Written:
    """What its file says."""

    id: str
    body: bytes
    queue: str
    receive_count: Count
    reason: str
    buried_at: Moment


class Drawer:
    """A directory of letters, by the queue's address; 0600 in 0700. Everything here blocks.

    A letter is on the disk, whole, when ``put`` returns: then the broker may forget the message.
    """

    def __init__(self, directory: Path, limit: Bytes) -> None:
        """``limit``: bytes of all letters together."""
        self._directory = directory
        self._limit = limit

    def put(self, address: str, message: Message, reason: str) -> None:
        """Keep a letter; one for the same message replaces it. Raises OutOfDisk, HostFault."""
        body = base64.b64encode(message.body).decode("ascii")
        written = {
            "address": address,
            "id": message.id,
            "queue": message.queue,
            "receive_count": message.receive_count,
            "reason": reason,
            "buried_at": time.time(),
            "body": body,
        }
        data = json.dumps(written).encode()
        try:
            if self._used() + len(data) > self._limit:
                raise OutOfDisk(
                    f"the dead letters in {self._directory} hold {self._limit} bytes: look at them "
                    "with 'studio-runner queue dead', requeue them, or remove them"
                )
            self._write(self._path(address, message.id), data)
        except OSError as error:
            raise host_fault(f"no dead letter can be kept in {self._directory}", error) from error

    def all_of(self, address: str) -> list[DeadLetter]:
        """Return the letters of one queue, oldest first."""
        found = [letter for path in self._paths(address) if (letter := _read(path))]
        return sorted(found, key=lambda letter: (letter.buried_at, letter.message.id))

    def take(self, address: str, message_id: str) -> DeadLetter | None:
        """Return a letter by its message's id; it stays until ``remove``."""
        return _read(self._path(address, message_id))

    def remove(self, address: str, message_id: str) -> None:
        """Forget a letter: its message waits again somewhere."""
        self._path(address, message_id).unlink(missing_ok=True)

    def _folder(self, address: str) -> Path:
        return self._directory / hashlib.sha256(address.encode()).hexdigest()[:24]

    def _path(self, address: str, message_id: str) -> Path:
        return self._folder(address) / (hashlib.sha256(message_id.encode()).hexdigest()[:32] + _END)

    def _paths(self, address: str) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from sorted(self._folder(address).glob(f"*{_END}"))

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._directory.glob(f"*/*{_END}"))

    def _write(self, path: Path, data: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        for folder in (path.parent, self._directory):
            _sync(folder)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> DeadLetter | None:
    try:
        found = own_files.read_as(path, _Written)
        message = Message(found.id, found.body, found.queue, found.receive_count)
        return DeadLetter(message, found.reason, found.buried_at)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("a dead letter cannot be read", path=str(path), trouble=str(error))
        return None
