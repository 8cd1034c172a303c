"""One SHA-256 over a whole tree: names, kinds, permissions, link targets and contents."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runner.archives.extents import extents
from runner.archives.walk import Entry, walk
from runner.model import Span

Check = Callable[[], object]

_PIECE = 1 << 20
#: Files are hashed in batches of so many, or of so many bytes: handing over each costs too much.
_BATCH_FILES, _BATCH_BYTES = 32, 8 << 20
#: Batches that wait, with their files open, for each thread.
_AHEAD = 2
_NOTHING = bytes(hashlib.sha256().digest_size)
_ZEROS = bytes(_PIECE)


def small_tree_digest(root: Path, check: Check) -> str:
    """Return the same digest as ``tree_digest``, without any other thread."""
    whole = hashlib.sha256()
    for batch in _batches(root):
        try:
            whole.update(batch.digest(check))
        finally:
            batch.close()
    return whole.hexdigest()


def tree_digest(root: Path, check: Check, *, threads: int) -> str:
    """Return the digest; blocks, and keeps ``threads`` cores busy.

    Times and owners do not count; what cannot be read counts as something else than it was.
    ``check`` is called often, from several threads, and may raise to stop. Raises OSError.
    """
    whole = hashlib.sha256()
    running: deque[tuple[_Batch, Future[bytes]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="digest") as pool:
        try:
            for batch in _batches(root):
                running.append((batch, pool.submit(batch.digest, check)))
                while len(running) > _AHEAD * threads:
                    whole.update(running[0][1].result())
                    running.popleft()
            for _, done in running:
                whole.update(done.result())
        finally:
            pool.shutdown(cancel_futures=True)
            for batch, _ in running:
                batch.close()
    return whole.hexdigest()


@dataclass
class _Batch:
    """Some entries one after the other; the files among them are open."""

    lines: list[tuple[bytes, int | None]] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.lines) >= _BATCH_FILES or self.size >= _BATCH_BYTES

    def add(self, entry: Entry) -> None:
        state = entry.state
        kind, mode = stat.S_IFMT(state.st_mode), stat.S_IMODE(state.st_mode)
        target, descriptor = "", None
        # gone or closed since: somebody was here
        with suppress(FileNotFoundError, PermissionError):
            if stat.S_ISLNK(state.st_mode):
                target, mode = entry.target(), 0
            elif stat.S_ISREG(state.st_mode):
                descriptor = entry.open()
                self.size += state.st_size
        head = b"\0".join([os.fsencode(entry.name), b"%o %o" % (kind, mode), os.fsencode(target)])
        self.lines.append((hashlib.sha256(head).digest(), descriptor))

    def digest(self, check: Check) -> bytes:
        done = []
        for place, (head, descriptor) in enumerate(self.lines):
            check()
            done.append(head + (_NOTHING if descriptor is None else _content(descriptor, check)))
            self._close(place)
        return b"".join(done)

    def close(self) -> None:
        for place in range(len(self.lines)):
            self._close(place)

    def _close(self, place: int) -> None:
        head, descriptor = self.lines[place]
        if descriptor is not None:
            self.lines[place] = (head, None)
            os.close(descriptor)


def _batches(root: Path) -> Iterator[_Batch]:
    batch = _Batch()
    try:
        for entry in walk(root, lambda _name, _why: None):
            batch.add(entry)
            if batch.is_full:
                full, batch = batch, _Batch()
                yield full
        full, batch = batch, _Batch()
        yield full
    finally:
        batch.close()


def _content(descriptor: int, check: Check) -> bytes:
    """Return 32 bytes that prove a file's content.

    Its SHA-256, where no whole piece of it is zeros: of those only their places count, so that a
    hole of any length costs nothing, and a file the same whether it has holes or zeros.
    """
    found, places = hashlib.sha256(), list[int]()
    size, at = os.fstat(descriptor).st_size, 0
    while piece := os.pread(descriptor, _PIECE, at):
        check()
        if piece == _ZEROS:
            behind = _behind_zeros(descriptor, at, size, check)
            places += (at, behind)
            at = behind
        else:
            found.update(piece)
            at += len(piece)
    if not places:
        return found.digest()
    # Another function: no content is made to look like places.
    return hashlib.blake2b(found.digest() + repr(places).encode(), digest_size=32).digest()


def _behind_zeros(descriptor: int, at: int, size: int, check: Check) -> int:
    """Return where the first piece behind ``at`` begins that is something else than zeros."""
    at += _PIECE
    while at < size:
        check()
        data = next(extents(descriptor, size, check, at), Span(size, 0)).start
        at = max(at, data // _PIECE * _PIECE)
        if os.pread(descriptor, _PIECE, at) != _ZEROS:
            break
        at += _PIECE
    return at
