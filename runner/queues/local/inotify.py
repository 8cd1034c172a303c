"""Linux's inotify as a descriptor for the event loop: no thread, only the events we ask for.

The watchdog package is not used for queues: it waits 0.5 s for the other half of every rename out
of a directory, and lets nothing pass meanwhile. A claim is such a rename. Watching also where
claims go avoids most of that, at the price of three threads and an event for every beat.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple


class On(enum.IntFlag):
    """Kernel events; values of ``<sys/inotify.h>``."""

    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    OVERFLOW = 0x4000
    #: The watch is gone: its directory was deleted.
    IGNORED = 0x8000
    #: Asked for: refuse what is no directory.
    ONLY_DIRECTORY = 0x1000000
    #: Told: the event is about a directory.
    DIRECTORY = 0x40000000


class Event(NamedTuple):
    """Something happened to ``name`` in the directory of ``watch``."""

    watch: int
    mask: On
    name: str


_HEADER = struct.Struct("iIII")
#: Some 2,000 events of usual length at a time.
_BUFFER = 64 * 1024


class Inotify:
    """An inotify instance. Raises OSError where the system has none or allows no more."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, "this system has no inotify")
        self.fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, directory: Path, mask: On) -> int:
        """Watch a directory and return the watch; watching it again returns the same one."""
        path = os.fsencode(directory)
        wanted = ctypes.c_uint32(mask | On.ONLY_DIRECTORY)
        return self._checked(self._libc.inotify_add_watch(self.fd, path, wanted))

    def remove(self, watch: int) -> None:
        """Stop watching; a watch that is gone already is no error."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[Event]:
        """Return what has happened; nothing when nothing has."""
        try:
            buffer = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return []
        events: list[Event] = []
        at = 0
        while at < len(buffer):
            watch, mask, _, length = _HEADER.unpack_from(buffer, at)
            at += _HEADER.size
            name = os.fsdecode(buffer[at : at + length].rstrip(b"\0"))
            at += length
            events.append(Event(watch, On(mask), name))
        return events

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
