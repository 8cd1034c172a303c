"""Where the messages of one queue directory lie in each of their states, and how they get back."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runner.errors import QueueUnavailable
from runner.queues.local import names
from runner.queues.local.index import Entry

_PRIVATE = 0o700
#: What StudioML's own publishers give a queue directory that they create.
_SHARED = 0o775


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an error of the file system into QueueUnavailable that names the paths."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise QueueUnavailable(
            f"the local queues below {path} cannot be used: {reason} ({error.filename or path}); "
            "the runner's user must be able to read and write there"
        ) from error


@dataclass(frozen=True, slots=True)
class Places:
    """The directory of the messages, and beside it our state about them."""

    queue: str
    messages: Path
    state: Path

    @classmethod
    def of(cls, root: Path, queue: str) -> Places:
        """Return the places of a queue with a directory of its own."""
        return cls(queue, root / queue, root / names.STATE / queue)

    @classmethod
    def flat(cls, root: Path) -> Places:
        """Return the places of the queue whose messages lie directly in the root."""
        return cls(names.FLAT_QUEUE, root, root / names.STATE / names.FLAT_STATE)

    @classmethod
    def all(cls, root: Path) -> list[Places]:
        """Return the places of all queues that we keep state about."""
        found = sorted(listed(root / names.STATE))
        places = [cls.of(root, name) for name in found if names.is_queue(name)]
        return [*places, cls.flat(root)] if names.FLAT_STATE in found else places

    @property
    def claims(self) -> Path:
        """Messages that somebody holds."""
        return self.state / "claims"

    @property
    def beats(self) -> Path:
        """Signs of life, one file for each claim, of the same name."""
        return self.state / "beats"

    @property
    def received(self) -> Path:
        """How often each message was handed out."""
        return self.state / "received"

    @property
    def delayed(self) -> Path:
        """Messages hidden until their time."""
        return self.state / "delayed"

    @property
    def dead(self) -> Path:
        """Dead letters with their reasons."""
        return self.state / "dead"

    @property
    def drafts(self) -> Path:
        """Messages that are being written by us."""
        return self.state / "drafts"

    def prepare(self) -> None:
        """Create our own directories, readable by our user alone."""
        own = (self.state.parent, self.state, *self._own())
        while True:
            try:
                for path in own:
                    with suppress(FileExistsError):
                        path.mkdir(_PRIVATE)
            except FileNotFoundError:
                # Those of a queue that does not exist yet are swept away, in between too.
                if not self.state.parent.parent.exists():
                    raise
            else:
                return

    def create_queue(self) -> None:
        """Create the directory of the messages as a client would."""
        self.messages.mkdir(_SHARED, parents=True, exist_ok=True)

    def remove_state(self) -> None:
        """Remove our state about a queue that is no more, unless there is something in it."""
        if self.messages.exists():
            return
        for path in (*self._own(), self.state):
            if path == self.received:
                self._forget_counts()
            try:
                path.rmdir()
            except FileNotFoundError:
                continue
            except OSError:  # claims are held, or dead letters are kept
                return

    def look(self, known: Collection[str] = ()) -> tuple[set[str], list[Entry]]:
        """Return all waiting names, and those not ``known`` with their times."""
        present: set[str] = set()
        entries: list[Entry] = []
        with suppress(FileNotFoundError), os.scandir(self.messages) as found:
            for item in found:
                if not names.is_message(item.name) or not item.is_file(follow_symlinks=False):
                    continue
                present.add(item.name)
                if item.name not in known:
                    with suppress(FileNotFoundError):  # taken by another runner meanwhile
                        status = item.stat(follow_symlinks=False)
                        entries.append(Entry(status.st_mtime_ns, item.name, status.st_ctime_ns))
        return present, entries

    def _forget_counts(self) -> None:
        for name in listed(self.received):
            (self.received / name).unlink(missing_ok=True)

    def _own(self) -> tuple[Path, ...]:
        # Claims first: while there is one, nothing else is removed.
        return (self.claims, self.beats, self.received, self.delayed, self.dead, self.drafts)


def listed(directory: Path) -> list[str]:
    """Return the names in a directory; none where it does not exist."""
    try:
        with os.scandir(directory) as items:
            return [item.name for item in items]
    except FileNotFoundError:
        return []


def free_name(directory: Path, name: str) -> str:
    """Return ``name``, or another where a file of that name came in the meantime."""
    return names.another(name) if os.path.lexists(directory / name) else name
