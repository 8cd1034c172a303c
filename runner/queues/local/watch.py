"""Hearing of new files at once: inotify on the event loop, silently absent where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import structlog

from runner.queues.local.inotify import Event, Inotify, On

log = structlog.stdlib.get_logger(__name__)

#: A message is there when its writer closed it, or when it was renamed into the queue.
FOR_MESSAGES = On.CLOSE_WRITE | On.MOVED_TO
#: Queues come and go as directories of the root.
FOR_QUEUES = FOR_MESSAGES | On.CREATE | On.DELETE | On.MOVED_FROM


class Watch:
    """Calls back on the loop for what happens in directories."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._overflowed = overflowed
        self._listeners: dict[int, Callable[[Event], None]] = {}
        #: Otherwise, or for some directories, somebody has to look.
        self.works = True
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._do_without(error)

    def add(self, directory: Path, mask: On, listener: Callable[[Event], None]) -> None:
        """Listen to a directory, from any thread; a look at it must follow.

        Adding it again is cheap and finds a directory that was deleted and made again.
        """
        if self._inotify is None:
            return
        try:
            self._listeners[self._inotify.add(directory, mask)] = listener
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._do_without(error)

    async def listen(self) -> None:
        """Pass on what happens until cancelled."""
        while self._inotify is not None:
            await anyio.wait_readable(self._inotify.fd)
            for event in self._inotify.read():
                self._tell(event)

    def close(self) -> None:
        """Give the descriptor back, when nobody listens and nobody adds any more."""
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()

    def _tell(self, event: Event) -> None:
        if event.mask & On.OVERFLOW:
            self._overflowed()
        elif event.mask & On.IGNORED:
            self._listeners.pop(event.watch, None)
        elif listener := self._listeners.get(event.watch):
            listener(event)

    def _do_without(self, error: OSError) -> None:
        if not self.works:
            return
        self.works = False
        log.warning(
            "inotify cannot be used for local queues; new messages are found by looking",
            reason=error.strerror,
        )
