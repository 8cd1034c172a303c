"""How full the cards are and how long experiments wait, against first fit; and what a choice costs.

A thousand experiments of mixed needs come to eight simulated cards: all at once, or one after the
other. Every one that fits is started, the oldest first; with the product's books and its choice,
and with first fit in the place of the choice. After each start and each end all cards are counted
anew. *Bound* is a time that no packing can beat. The last lines are real time.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from runner.lifecycle.gpus.choice import choose_gpus, suitable
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.ledger import ChooseGpus, Ledger

EXPERIMENTS = 1000
SEEDS = range(1, 6)
GB = 10**9
#: How many of the oldest are looked at: as many queues have a message in hand, or are known to.
SIGHT = 50
SECONDS = 1.0
#: Slots, gigabytes, cards, the longest in minutes; and how many of a hundred are such.
MENU = (
    ((1, 8, 1, 30), 18),
    ((4, 12, 1, 60), 16),
    ((8, 20, 1, 60), 16),
    ((8, 22, 1, 120), 8),
    ((12, 30, 1, 120), 12),
    ((16, 44, 1, 180), 10),
    ((24, 38, 1, 120), 6),
    ((24, 70, 1, 240), 6),
    ((4, 16, 2, 60), 3),
    ((16, 40, 2, 120), 3),
    ((24, 70, 4, 120), 2),
)
GROUPS = ("a", "b", "c")


def cards() -> tuple[Gpu, ...]:
    """Return four A100, two A40 and two L4, the A100 and the A40 joined in pairs."""
    sizes = [("A100", 80, 24)] * 4 + [("A40", 48, 16)] * 2 + [("L4", 24, 8)] * 2
    lots = random.Random(0)  # noqa: S311 - a simulation
    names = [f"GPU-{number:08x}" for number in lots.sample(range(1 << 32), len(sizes))]
    return tuple(
        Gpu(names[one], kind, Bytes(memory * GB), slots, links=tuple(_links(names, one)))
        for one, (kind, memory, slots) in enumerate(sizes)
    )


def _links(names: Sequence[str], one: int) -> Iterator[tuple[str, int]]:
    for other, name in enumerate(names):
        if other != one:
            pair, half = other // 2 == one // 2, other // 4 == one // 4
            yield name, (0 if one < 6 else 2) if pair else 3 if half else Gpu.FAR


def first_fit(needs: Needs, gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...] | None:
    """Choose the first cards that suffice, as they come."""
    fitting = suitable(needs, gpus)
    return tuple(fitting[: needs.gpu_count]) if len(fitting) >= needs.gpu_count else None


@dataclass(frozen=True)
class Work:
    """One experiment."""

    needs: Needs
    minutes: float
    #: Minutes from the beginning.
    comes: float = 0.0


def works(seed: int, *, shared: bool) -> list[Work]:
    """Draw the experiments; ``shared``: of three queues, each of which may share cards."""
    lots = random.Random(seed)  # noqa: S311 - a simulation
    kinds, weights = zip(*MENU, strict=True)
    found = []
    for slots, memory, count, longest in lots.choices(kinds, weights, k=EXPERIMENTS):
        group = lots.choice(GROUPS) if shared else ""
        needs = Needs(1, Bytes(0), Bytes(0), slots, Bytes(memory * GB), count, group)
        found.append(Work(needs, lots.uniform(longest / 4, longest)))
    return found


def over_time(wanted: Sequence[Work], minutes: float, seed: int) -> list[Work]:
    """Have them come at any time of so many minutes."""
    lots = random.Random(seed)  # noqa: S311 - a simulation
    times = sorted(lots.uniform(0, minutes) for _ in wanted)
    return [replace(one, comes=comes) for one, comes in zip(wanted, times, strict=True)]


def bound(wanted: Sequence[Work], gpus: Sequence[Gpu]) -> float:
    """Return the minutes that no packing can beat.

    For each set of cards that is all that some experiments can use: what these take of the whole
    set, in cards, or in slots and in memory where cards are shared.
    """
    reach: defaultdict[frozenset[str], list[Work]] = defaultdict(list)
    for work in wanted:
        reach[frozenset(gpu.uuid for gpu in suitable(work.needs, gpus))].append(work)
    least = max(work.minutes for work in wanted)
    for within in reach:
        inside = [work for names, some in reach.items() if names <= within for work in some]
        least = max(least, _minutes(inside, [gpu for gpu in gpus if gpu.uuid in within]))
    return least


def _minutes(inside: Sequence[Work], there: Sequence[Gpu]) -> float:
    if not inside[0].needs.shares_cards:
        return sum(one.minutes * one.needs.gpu_count for one in inside) / len(there)
    slots = sum(one.minutes * one.needs.gpu_count * one.needs.gpu_slots for one in inside)
    memory = sum(one.minutes * one.needs.gpu_count * one.needs.gpu_memory for one in inside)
    return max(slots / sum(g.slots for g in there), memory / sum(g.memory for g in there))


@dataclass
class Day:
    """The story of one machine."""

    gpus: tuple[Gpu, ...]
    choose: ChooseGpus
    now: float = 0.0
    #: Minutes of cards of which somebody held a part.
    busy: float = 0.0
    checks: int = 0
    #: Of all experiments, and of those that only the largest cards can run.
    waits: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)
    #: How near the cards of each set are.
    sets: Counter[int] = field(default_factory=Counter)

    def play(self, wanted: Sequence[Work]) -> None:
        """Run all of it."""
        total = Capacity(1 << 20, Bytes(0), Bytes(0), self.gpus)
        ledger = Ledger(total, self.choose)
        coming, waiting = deque(wanted), list[Work]()
        ends: list[tuple[float, int, Allocation]] = []
        numbers = itertools.count()
        while coming or waiting or ends:
            while coming and coming[0].comes <= self.now:
                waiting.append(coming.popleft())
            for work, share in self._started(waiting, ledger):
                heapq.heappush(ends, (self.now + work.minutes, next(numbers), share))
                self._note(work, share)
                self._check([one for _, _, one in ends])
            until = min(
                [one.comes for one in itertools.islice(coming, 1)] + [e[0] for e in ends[:1]]
            )
            self.busy += len(ledger.held_gpus) * (until - self.now)
            self.now = until
            while ends and ends[0][0] <= until:
                ledger.release(heapq.heappop(ends)[-1])
                self._check([one for _, _, one in ends])
        assert ledger.free == total

    def _started(self, waiting: list[Work], ledger: Ledger) -> Iterator[tuple[Work, Allocation]]:
        """Start what fits; equal needs that were refused are refused until something ends."""
        refused: set[Needs] = set()
        place = 0
        while place < min(SIGHT, len(waiting)):
            needs = waiting[place].needs
            share = None if needs in refused else ledger.reserve(needs)
            if share is None:
                refused.add(needs)
                place += 1
            else:
                yield waiting.pop(place), share

    def _note(self, work: Work, share: Allocation) -> None:
        self.waits.append(self.now - work.comes)
        if work.needs.gpu_memory > 48 * GB:
            self.large.append(self.now - work.comes)
        links = {gpu.uuid: dict(gpu.links) for gpu in self.gpus}
        if len(share.gpus) == 2:
            one, other = share.gpus
            self.sets[links[one].get(other, Gpu.FAR)] += 1

    def _check(self, given: Sequence[Allocation]) -> None:
        """Count what is given of each card, knowing nothing of the ledger."""
        self.checks += 1
        for gpu in self.gpus:
            shares = [share for share in given if gpu.uuid in share.gpus]
            groups = {share.gpu_group for share in shares}
            assert len(groups) <= 1, f"two groups on {gpu.uuid}"
            assert "" not in groups or len(shares) == 1, f"{gpu.uuid} is given twice"
            assert sum(share.gpu_slots for share in shares) <= gpu.slots
            assert sum(share.gpu_memory for share in shares) <= gpu.memory


def _compare(title: str, *, shared: bool, load: float = 0.0) -> None:
    """Play the same days with both; ``load``: spread over so much less than the bound allows."""
    print(title)
    gpus = cards()
    for name, choose in (("smallest and nearest", choose_gpus), ("first fit", first_fit)):
        days, floor = [], 0.0
        for seed in SEEDS:
            wanted = works(seed, shared=shared)
            least = bound(wanted, gpus)
            floor += least
            days.append(Day(gpus, choose))
            days[-1].play(over_time(wanted, least / load, seed) if load else wanted)
        took = sum(day.now for day in days)
        used = sum(day.busy for day in days) / took / len(gpus)
        waits = [one for day in days for one in day.waits]
        large = [one for day in days for one in day.large]
        pairs = sum((day.sets for day in days), Counter[int]())
        over = "" if load else f"{took / floor:6.3f} x bound"
        print(
            f"    {name:22} {took / len(days) / 60:7.1f} h {over:14} {used:7.1%}"
            f" {statistics.mean(waits) / 60:8.2f} h {statistics.mean(large) / 60:8.2f} h"
            f" {pairs[0] / pairs.total():9.0%} {sum(day.checks for day in days):8}"
        )


def _grid(count: int, *, regular: bool) -> tuple[Gpu, ...]:
    """Return equal cards, in pairs on switches on two sockets, or with random distances."""
    lots = random.Random(count)  # noqa: S311 - a simulation
    far = {pair: lots.randint(0, Gpu.FAR) for pair in itertools.combinations(range(count), 2)}

    def hops(one: int, other: int) -> int:
        if not regular:
            return far[min(one, other), max(one, other)]
        return 0 if one // 2 == other // 2 else 2 if one // 4 == other // 4 else Gpu.FAR

    return tuple(
        Gpu(
            f"GPU-{one:02}",
            "H100",
            Bytes(80 * GB),
            48,
            links=tuple(
                (f"GPU-{other:02}", hops(one, other)) for other in range(count) if other != one
            ),
        )
        for one in range(count)
    )


def _speed(there: int, sizes: Sequence[int], *, regular: bool) -> float:
    """Return decisions a second: each with its entry in the books, and its end."""
    ledger = Ledger(
        Capacity(1 << 20, Bytes(0), Bytes(0), _grid(there, regular=regular)), choose_gpus
    )
    wanted = itertools.cycle(
        Needs(1, gpu_slots=8, gpu_memory=Bytes(40 * GB), gpu_count=size) for size in sizes
    )
    held: list[Allocation] = []
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        share = ledger.reserve(next(wanted))
        done += 1
        if share is None:
            while held:
                ledger.release(held.pop(0))
        else:
            held.append(share)
    return done / (time.perf_counter() - begun)


def main() -> None:
    """Play and print."""
    print(f"{EXPERIMENTS} experiments on 8 cards, {len(SEEDS)} days; no oversubscription.")
    print(
        f"{'':26} {'makespan':>9} {'':14} {'in use':>7} {'mean wait':>10} {'of large':>10}"
        f" {'near pairs':>9} {'checks':>7}"
    )
    for shared, what in ((False, "whole cards"), (True, "shared within three queues")):
        _compare(f"{what}, all at once", shared=shared)
        _compare(f"{what}, at 80 % of the bound", shared=shared, load=0.8)
    print()
    for there, sizes in ((8, (1,)), (8, (2, 3, 4)), (8, (1, 2, 3, 4)), (16, (1,)), (16, (8,))):
        title = f"{'/'.join(map(str, sizes))} of {there} cards"
        rates = [_speed(there, sizes, regular=regular) for regular in (True, False)]
        print(f"{title:24} {rates[0]:8.0f} decisions a second, {rates[1]:8.0f} on random links")


if __name__ == "__main__":
    main()
