"""Hears of changes below the watched directories, through watchdog; the looking is others'."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from runner import log

_log = log.get_logger(__name__)

#: Not those of opening and closing what is only read: our own look would ring the bell.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]


class Bell(AbstractAsyncContextManager["Bell"], FileSystemEventHandler):
    """Rings when something changes; where the system cannot tell, it stays silent.

    Threads: one of watchdog's own for the dispatch, one for inotify, one for each directory.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._rung = threading.Event()
        self._observer: BaseObserver | None = None
        #: The directory that is watched as each root: device and inode.
        self._watched: dict[str, tuple[tuple[int, int], ObservedWatch]] = {}
        self._is_silent = False

    async def __aenter__(self) -> Self:
        # It may hear of a new directory twice, and says so at length, in its own thread. Harmless.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, r"watchdog\.")
        try:
            self._observer = Observer()
            self._observer.start()
        except OSError as error:
            self._observer = None
            self._stay_silent(error)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._end)

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most for so long. Blocks."""
        self._rung.wait(seconds)

    @property
    def is_rung(self) -> bool:
        """Tell whether something changed since it was quietened."""
        return self._rung.is_set()

    def quieten(self) -> None:
        """Forget what rang it so far; a look must follow."""
        self._rung.clear()

    def ring(self) -> None:
        """Ring; in any thread."""
        self._rung.set()

    def tend(self) -> None:
        """Watch what is there now: a directory may have come, gone or been replaced. Blocks."""
        for root in self._roots if self._observer else ():
            there = _identity(root)
            watched = self._watched.get(root)
            if watched and watched[0] != there:
                self._unwatch(root)
            if there and root not in self._watched:
                self._watch(root, there)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass it on from watchdog's thread."""
        del event
        self.ring()

    def _watch(self, root: str, there: tuple[int, int]) -> None:
        assert self._observer is not None  # noqa: S101 - tend() looked
        try:
            # Where it leads to: a watch on a link would hear of the link alone.
            watch = self._observer.schedule(
                self, os.path.realpath(root), recursive=True, event_filter=_EVENTS
            )
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._stay_silent(error)
        else:
            self._watched[root] = (there, watch)

    def _unwatch(self, root: str) -> None:
        assert self._observer is not None  # noqa: S101 - tend() looked
        _, watch = self._watched.pop(root)
        with suppress(KeyError):
            self._observer.unschedule(watch)

    def _stay_silent(self, error: OSError) -> None:
        if not self._is_silent:
            self._is_silent = True
            _log.warning(
                "the system does not tell of changed credentials; they are found by looking",
                reason=error.strerror or str(error),
            )

    def _end(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = os.stat(root)  # noqa: PTH116 - strings all along
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
