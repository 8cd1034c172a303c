"""What fits starts, what cannot fit is left to others, and nothing is given twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.admission import Fits, Later, Never, choose_gpus, decide
from runner.model import Bytes, Capacity, Gpu, Needs

GB = 10**9
SMALL = Gpu("GPU-a", "GTX 1060", Bytes(6 * GB), 2)
MEDIUM = Gpu("GPU-b", "P40", Bytes(24 * GB), 4)
LARGE = Gpu("GPU-c", "V100", Bytes(32 * GB), 16)
TOTAL = Capacity(8, Bytes(16 * GB), Bytes(100 * GB), (LARGE, MEDIUM, SMALL))
FREE = Capacity(2, Bytes(4 * GB), Bytes(10 * GB), (LARGE,))


def needs(
    cores: int = 1,
    memory: int = 0,
    disk: int = 0,
    *,
    slots: int = 0,
    gpu_memory: int = 0,
    count: int = 0,
) -> Needs:
    """Return needs in gigabytes."""
    return Needs(cores, Bytes(memory * GB), Bytes(disk * GB), slots, Bytes(gpu_memory * GB), count)


def test_what_fits_gets_exactly_what_it_asked_for() -> None:
    """And the cards by name."""
    verdict = decide(needs(2, 4, 10, slots=1, count=1), FREE, TOTAL)
    assert isinstance(verdict, Fits)
    assert verdict.allocation.gpus == ("GPU-c",)
    assert (verdict.allocation.cores, verdict.allocation.memory) == (2, 4 * GB)


def test_what_does_not_fit_now_waits() -> None:
    """The reason names what is short."""
    for wanted, word in (
        (needs(3), "cores"),
        (needs(memory=5), "memory"),
        (needs(disk=11), "disk"),
        (needs(slots=1, count=2), "2 GPUs"),
    ):
        verdict = decide(wanted, FREE, TOTAL)
        assert isinstance(verdict, Later)
        assert word in verdict.reason


def test_what_exceeds_the_machine_is_left_to_others() -> None:
    """With figures, so that the sender knows what to ask for."""
    for wanted, words in (
        (needs(9), "9 cores, and there are 8"),
        (needs(memory=64), "64 GB of memory, and there are 16 GB"),
        (needs(disk=101), "disk"),
        (needs(slots=24, count=1), "24 slots"),
        (needs(gpu_memory=80, count=1), "80 GB of memory, and there are 0 such"),
        (needs(slots=4, count=3), "3 GPUs with 4 slots, and there are 2 such"),
    ):
        verdict = decide(wanted, FREE, TOTAL)
        assert isinstance(verdict, Never)
        assert words in verdict.reason


def test_the_smallest_sufficient_card_is_chosen() -> None:
    """One slot is satisfied by any card, so by the smallest; the order of the list is nothing."""
    assert choose_gpus(needs(slots=1, count=1), TOTAL.gpus) == (SMALL,)
    assert choose_gpus(needs(slots=3, count=1), TOTAL.gpus) == (MEDIUM,)
    assert choose_gpus(needs(gpu_memory=30, count=1), TOTAL.gpus) == (LARGE,)
    assert choose_gpus(needs(slots=1, count=2), TOTAL.gpus) == (SMALL, MEDIUM)
    assert choose_gpus(needs(slots=1, count=4), TOTAL.gpus) is None
    assert choose_gpus(needs(), ()) == ()


sizes = st.integers(0, 20)
wants = st.builds(
    needs, sizes, sizes, sizes, slots=sizes, gpu_memory=sizes, count=st.integers(0, 4)
)
cards = st.lists(st.builds(lambda slots, memory: (slots, memory), sizes, sizes), max_size=5).map(
    lambda found: tuple(
        Gpu(f"GPU-{n}", "card", Bytes(memory * GB), slots)
        for n, (slots, memory) in enumerate(found)
    )
)
machines = st.builds(
    lambda cores, memory, disk, gpus: Capacity(cores, Bytes(memory * GB), Bytes(disk * GB), gpus),
    sizes,
    sizes,
    sizes,
    cards,
)


@given(st.lists(wants, max_size=8), machines)
def test_the_machine_is_never_given_twice(wanted: list[Needs], total: Capacity) -> None:
    """However many ask, in whatever order: the sum of what is given is what there is, at most."""
    free = total
    for need in wanted:
        verdict = decide(need, free, total)
        if not isinstance(verdict, Fits):
            continue
        given_out = verdict.allocation
        assert set(given_out.gpus) <= {gpu.uuid for gpu in free.gpus}
        assert len(set(given_out.gpus)) == need.gpu_count
        free = Capacity(
            free.cores - given_out.cores,
            Bytes(free.memory - given_out.memory),
            Bytes(free.disk - given_out.disk),
            tuple(gpu for gpu in free.gpus if gpu.uuid not in given_out.gpus),
        )
        assert min(free.cores, free.memory, free.disk) >= 0


@given(wants, machines)
def test_an_empty_machine_takes_it_now_or_never(need: Needs, total: Capacity) -> None:
    """What can never start is never kept waiting."""
    assert not isinstance(decide(need, total, total), Later)
