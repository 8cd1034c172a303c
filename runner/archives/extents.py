"""Where a file has data, and where it has holes, which take no room and read as zeros."""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Iterable, Iterator

from runner.archives.stopping import Check
from runner.model import Span

#: What ``st_blocks`` is counted in.
SECTOR = 512
#: Spans that are to be stored begin and end at multiples of it, or where the file ends.
_GRAIN = 4096
#: A shorter hole costs more to describe than to store.
_LEAST = 64 << 10
#: Holes that are told of one file, the longest: each takes two numbers in an archive's header.
_MOST = 4000
#: The file system does not tell.
_MUTE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS})


def has_holes(state: os.stat_result) -> bool:
    """Tell whether a look for holes may be worth while: it takes less room than its length."""
    return state.st_blocks * SECTOR + _LEAST <= state.st_size


def extents(descriptor: int, size: int, check: Check, position: int = 0) -> Iterator[Span]:
    """Yield where the bytes of an open file from ``position`` to ``size`` are data, in order.

    One span of all where the file system does not tell. Moves the file's position. Raises OSError.
    """
    while position < size:
        check()
        start = _next(descriptor, position, os.SEEK_DATA, position)
        end = _next(descriptor, start, os.SEEK_HOLE, size) if start < size else size
        if start < size:
            yield Span(start, min(end, size) - start)
        position = end


def _next(descriptor: int, position: int, what: int, unknown: int) -> int:
    try:
        return os.lseek(descriptor, position, what)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing comes any more
            return 1 << 63
        if error.errno in _MUTE:
            return unknown
        raise


def worth_storing(found: Iterable[Span], size: int) -> tuple[Span, ...]:
    """Return what of ``size`` bytes is to be stored, where data are ``found``, in their order.

    All but the holes, of which short ones, and the shorter ones of very many, are stored. Pure.
    """
    longest = heapq.nlargest(_MOST, _holes(found, size), key=lambda hole: hole.length)
    position, spans = 0, []
    for hole in sorted(longest, key=lambda hole: hole.start):
        if hole.start > position:
            spans.append(Span(position, hole.start - position))
        position = hole.end
    if position < size:
        spans.append(Span(position, size - position))
    return tuple(spans)


def _holes(found: Iterable[Span], size: int) -> Iterator[Span]:
    position = 0
    for data in (*found, Span(size, 0)):
        start = -(-position // _GRAIN) * _GRAIN
        end = size if data.start == size else data.start // _GRAIN * _GRAIN
        if end - start >= _LEAST:
            yield Span(start, end - start)
        position = data.end
