"""One thing that the disk's watch looks at, and what is free where it lies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.lifecycle.board import Entry
from runner.lifecycle.disk.looks import Account, Free
from runner.lifecycle.disk.usage import Usage, measure
from runner.model import Bytes
from runner.resources.space import SPACE

_NONE = Bytes(0)


@dataclass(eq=False, slots=True)
class Watched:
    """What is looked at, and what is done when it is over its bound."""

    name: str
    account: Account
    #: Looks at it; blocks.
    measure: Callable[[Callable[[], None]], Usage]
    #: Where it lies; what is free there decides when to look.
    place: Path
    over: Callable[[Account], None]
    #: Of a run: the attempt, and what it asked for.
    entry: Entry | None = None
    asked: Bytes = _NONE


def left(place: Path) -> Free:
    """Ask the file system, which may hang, but not us. Raises OSError."""
    found = SPACE.of(place)
    return Free(found.f_bfree * found.f_frsize, found.f_ffree)


def of_build(
    name: str,
    account: Account,
    roots: Mapping[Path, str],
    holders: Callable[[], Iterable[int]],
    over: Callable[[Account], None],
) -> Watched:
    """Return what a build writes from now on: what is there already counts nothing."""
    since = time.time()
    return Watched(
        name,
        account,
        lambda check: measure(roots, check, since=since, holders=holders),
        next(iter(roots)),
        over,
    )
