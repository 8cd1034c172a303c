"""What goes when room is needed: the longest unused first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry, as eviction sees it."""

    name: str
    key: str
    bytes: int
    #: Seconds since the epoch, of the last use.
    used: float


def victims(
    candidates: Iterable[Candidate], missing: int, held: Collection[str] = ()
) -> list[Candidate]:
    """Return what must go so that ``missing`` bytes become free, or all there is; none of ``held``.

    ``held`` are names.
    """
    going: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.used, one.name)):
        if missing <= 0:
            break
        if one.name not in held:
            going.append(one)
            missing -= one.bytes
    return going
