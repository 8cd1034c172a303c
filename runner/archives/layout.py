"""Where the members of a stored tar archive lie, and what of it a new one can be made of.

The plan for a new archive is: ranges of the stored one, in their order, then a tail that is packed
anew. What was changed, what is new, and what lies in ranges too short for the store all goes to the
tail; what was deleted is in no range. A tail that changes at every checkpoint so stays together at
the end, behind what never changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.model import Span


@dataclass(frozen=True, slots=True)
class Placed:
    """One member of an archive; the next one follows it without a gap."""

    name: str
    #: ``stamps.seen`` of what it was made from; empty: that may have changed while it was read.
    seen: str
    #: Headers, content and padding.
    length: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a stored archive stays."""

    #: In the order of the new archive, of which they are the beginning.
    kept: tuple[Span, ...]
    #: What lies in ``kept``.
    members: tuple[Placed, ...]

    @property
    def length(self) -> int:
        """Where the tail begins."""
        return sum(span.length for span in self.kept)


def plan(
    members: Sequence[Placed], now: Mapping[str, str], *, smallest: int, most: int
) -> Plan | None:
    """Keep the unchanged runs of at least ``smallest`` bytes, at most ``most`` of them.

    ``now`` has ``stamps.seen`` of everything that is there. This reads the least there is to read:
    no range may be shorter than ``smallest``, so no run that is shorter can be kept, and none that
    is long enough costs another. ``None``: nothing can be kept.
    """
    runs = [run for run in _runs(members, now) if run.span.length >= smallest]
    if len(runs) > most:
        longest = sorted(runs, key=lambda run: run.span.length, reverse=True)[:most]
        runs = sorted(longest, key=lambda run: run.span.start)
    if not runs:
        return None
    return Plan(
        tuple(run.span for run in runs),
        tuple(member for run in runs for member in members[run.first : run.behind]),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """Members that are unchanged and lie side by side."""

    first: int
    behind: int
    span: Span


def _runs(members: Sequence[Placed], now: Mapping[str, str]) -> Iterator[_Run]:
    first, start, position = 0, 0, 0
    for index, member in enumerate(members):
        is_same = bool(member.seen) and now.get(member.name) == member.seen
        if not is_same:
            yield _Run(first, index, Span(start, position - start))
        position += member.length
        if not is_same:
            first, start = index + 1, position
    yield _Run(first, len(members), Span(start, position - start))
