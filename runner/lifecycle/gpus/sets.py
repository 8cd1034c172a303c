"""The nearest cards among many: a search over sets that stops in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.model import Gpu

#: Steps of one search. A choice among 8 cards needs fewer by far, and so do most among more. Where
#: they do not suffice, good sets are guessed besides, and the best of what was found is taken.
PATIENCE = 2000


def nearest(
    pools: Sequence[Sequence[Gpu]], count: int, costs: Mapping[str, int]
) -> tuple[Gpu, ...]:
    """Choose ``count`` cards of one pool; each pool has so many, ordered by costs and UUID.

    The set with the smallest largest distance between two of its cards; among those with the
    smallest sum of distances; then of costs; then the first in order.
    """
    searches = [_Search(pool, count, [costs[gpu.uuid] for gpu in pool]) for pool in pools]
    for hops in sorted({hops for search in searches for hops in search.distances}):
        found = [search for search in searches if search.look(hops)]
        if found:
            return min(found, key=lambda search: search.key).chosen
    raise AssertionError("within the largest distance everything is a set")


class _Search:
    """Looks through the sets of one pool by adding card after card, in order.

    What cannot become better than the best so far is left out, and so is a set that differs from
    an earlier one only by *twins*: cards of equal cost and equal distance to every other card.
    """

    def __init__(self, pool: Sequence[Gpu], count: int, costs: Sequence[int]) -> None:
        self._pool, self._count, self._costs = pool, count, costs
        self._hops = _matrix(pool)
        self.distances = {hops for place, row in enumerate(self._hops) for hops in row[place + 1 :]}
        self._least = min(self.distances)
        self._twins = _twins(self._hops, costs)
        self._near: list[int] = []
        self._steps = PATIENCE
        #: Sum of distances, sum of costs, and the places of the best set.
        self._best: tuple[int, int, tuple[int, ...]] | None = None

    def look(self, hops: int) -> bool:
        """Find the best set of cards that are all within so many hops, if there is one."""
        self._near = [
            sum(1 << other for other, distance in enumerate(row) if distance <= hops)
            for row in self._hops
        ]
        self._steps = PATIENCE
        self._add((), (1 << len(self._pool)) - 1, 0, 0)
        if not self._steps:
            for place in range(len(self._pool)):
                self._grow(place)
        return self._best is not None

    @property
    def key(self) -> tuple[int, int, list[str]]:
        """What makes one best set better than that of another pool: less."""
        assert self._best is not None  # noqa: S101 - asked only where one was found
        return self._best[0], self._best[1], [gpu.uuid for gpu in self.chosen]

    @property
    def chosen(self) -> tuple[Gpu, ...]:
        """The best set, in order."""
        assert self._best is not None  # noqa: S101 - asked only where one was found
        return tuple(self._pool[place] for place in self._best[2])

    def _grow(self, place: int) -> None:
        """Guess a set: to one card always add the nearest."""
        chosen, far = [place], list(self._hops[place])
        allowed, sum_ = self._near[place] & ~(1 << place), 0
        while allowed and len(chosen) < self._count:
            place = min(_places(allowed), key=far.__getitem__)
            sum_ += far[place]
            chosen.append(place)
            allowed &= self._near[place] & ~(1 << place)
            far = [one + more for one, more in zip(far, self._hops[place], strict=True)]
        if len(chosen) == self._count:
            found = sum_, sum(self._costs[one] for one in chosen), tuple(sorted(chosen))
            self._best = found if self._best is None else min(self._best, found)

    def _add(self, chosen: tuple[int, ...], allowed: int, hops: int, cost: int) -> None:
        """Go through what can be added; ``allowed``: a bit for each place that still may."""
        missing = self._count - len(chosen) - 1
        far = self._least * (missing * len(chosen) + missing * (missing + 1) // 2)
        tried = 0
        while allowed.bit_count() > missing and self._steps:
            bit = allowed & -allowed
            allowed ^= bit
            place = bit.bit_length() - 1
            if tried & self._twins[place]:
                continue
            tried |= bit
            self._steps -= 1
            row = self._hops[place]
            sum_ = hops + sum(row[other] for other in chosen)
            spent = cost + self._costs[place]
            if self._best is not None:
                least = spent + missing * self._costs[place]  # the others cost no less
                if (sum_ + far, least) >= self._best[:2]:
                    continue
            if missing:
                self._add((*chosen, place), allowed & self._near[place], sum_, spent)
            else:
                self._best = sum_, spent, (*chosen, place)


def _places(bits: int) -> Iterator[int]:
    while bits:
        bit = bits & -bits
        bits ^= bit
        yield bit.bit_length() - 1


def _matrix(pool: Sequence[Gpu]) -> list[list[int]]:
    """Return all distances; of two that the ends tell differently the smaller one."""
    known = [dict(gpu.links) for gpu in pool]
    hops = [[Gpu.FAR] * len(pool) for _ in pool]
    for one, gpu in enumerate(pool):
        for two in range(one):
            told = known[one].get(pool[two].uuid, Gpu.FAR), known[two].get(gpu.uuid, Gpu.FAR)
            hops[one][two] = hops[two][one] = min(told)
    return hops


def _twins(hops: Sequence[list[int]], costs: Sequence[int]) -> list[int]:
    """Return for each place a bit for each of its twins, itself included."""
    kinds: dict[int, int] = {}  # the first place of a kind, and a bit for each of the kind
    first: list[int] = []
    for place, cost in enumerate(costs):
        of = (kind for kind in kinds if costs[kind] == cost and _are_twins(hops, kind, place))
        first.append(next(of, place))
        kinds[first[place]] = kinds.get(first[place], 0) | 1 << place
    return [kinds[place] for place in first]


def _are_twins(hops: Sequence[list[int]], one: int, two: int) -> bool:
    seen = list(hops[one])
    seen[one], seen[two] = seen[two], seen[one]
    return seen == hops[two]
