"""The local broker: every directory below one root is a queue, by the names StudioML gives them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.queues.base import Broker
from runner.queues.choice import Choice
from runner.queues.local import names
from runner.queues.local.beats import Holder
from runner.queues.local.caretaker import Caretaker
from runner.queues.local.mailbox import LocalMailbox
from runner.queues.local.places import Places
from runner.queues.local.queue import LocalQueue


class LocalBroker(Broker):
    """Queues below ``root``, which is made if it is not there.

    ``poll`` is how often directories are looked at beside
    inotify; on a network file system it decides how soon other hosts' messages are found.
    ``owner`` is written into claims, for people. Any number of brokers may share a root.
    """

    name = "local"

    def __init__(
        self,
        root: Path,
        *,
        choice: Choice,
        lease: timedelta,
        owner: str,
        poll: timedelta,
    ) -> None:
        self._root = root.absolute()
        self.project = str(self._root)
        self._choice = choice
        self._caretaker = Caretaker(self._root, Holder(owner, lease), poll)
        self._queues: dict[str, LocalQueue] = {}
        self._flat_seen = False

    async def __aenter__(self) -> Self:
        """Touch nothing yet: a root that cannot be used now may be mended before it is needed."""
        await self._caretaker.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; deliveries stay held and can still be settled."""
        await self._caretaker.__aexit__(kind, error, trace)

    async def discover(self) -> AsyncIterator[frozenset[str]]:
        """Make the root and yield the names of the queues to take from. Raises QueueUnavailable.

        The queue of messages that lie directly in the root has no directory whose end would tell
        that it is over; once seen it stays.
        """
        await self._caretaker.start()
        known: frozenset[str] | None = None
        while True:
            news = self._caretaker.queues_changed.listen()
            found = await self._caretaker.call(self._names)
            if found != known:
                known = found
                yield found
            await news.wait()

    async def open(self, queue: str) -> LocalQueue:
        """Return a queue, which need not exist yet. Raises Misconfigured."""
        name = names.checked_queue(queue)
        if name not in self._queues:
            self._queues[name] = LocalQueue(name, self._caretaker)
        return self._queues[name]

    def mailbox(self, queue: str) -> LocalMailbox:
        """Return the directory ``<queue>_response``."""
        return LocalMailbox(names.checked_queue(queue), self._caretaker)

    async def exists(self, queue: str) -> bool:
        """Tell whether there is a directory. Raises QueueUnavailable."""
        name = names.checked_queue(queue)
        if name == names.FLAT_QUEUE and self._flat_seen:
            return True
        await self._caretaker.start()

        def look() -> bool:
            # A root that was unmounted has no queues, and nobody deleted them.
            (self._root / names.STATE).stat()
            return Places.of(self._root, name).messages.is_dir()

        return await self._caretaker.call(look)

    def _names(self) -> frozenset[str]:
        found: set[str] = set()
        try:
            with os.scandir(self._root) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        found.add(item.name)
                    elif not self._flat_seen:
                        self._flat_seen = _is_flat(item)
        except FileNotFoundError:
            return frozenset()
        if self._flat_seen:
            found.add(names.FLAT_QUEUE)
        taken, self.left = self._choice.divide(filter(names.is_queue, found))
        return taken


def _is_flat(item: os.DirEntry[str]) -> bool:
    """Tell whether this file shows that messages may lie directly in the root."""
    if not item.is_file(follow_symlinks=False):
        return False
    return item.name == names.FLAT_MARKER or names.is_message(item.name)
