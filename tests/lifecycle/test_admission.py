"""What fits starts, what cannot fit is left to others, and nothing is given twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.claiming.admission import Fits, Later, Never, decide
from runner.model import Bytes, Capacity, Gpu, Needs
from runner.resources.base import GpuReserve

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


def test_a_machine_without_cards_says_why() -> None:
    """The sender reads whether to go elsewhere or to ask the operator; others are not concerned."""
    total = Capacity(8, Bytes(GB), Bytes(GB), why_no_gpus="--cpu-only is set")
    verdict = decide(needs(slots=2, count=1), total, total)
    assert verdict == Never("it needs 1 GPU with 2 slots, and here are none: --cpu-only is set")
    assert isinstance(decide(needs(), total, total), Fits)


def test_cards_that_are_not_given_out_are_named() -> None:
    """With the reason, where one of them would have done; they may come back."""
    withheld = {"GPU-b": "an uncorrectable error", "GPU-a": "in foreign use"}
    verdict = decide(needs(slots=4, count=2), FREE, TOTAL, withheld=withheld)
    assert verdict == Later(
        "it needs 2 GPUs with 4 slots, and there are 1 such free now; "
        "not given out: GPU-b (an uncorrectable error)"
    )
    verdict = decide(needs(3), FREE, TOTAL, withheld=withheld)
    assert verdict == Later("it needs 3 cores, and there are 2 free now")


def test_parts_of_cards_make_no_set() -> None:
    """The sender of an experiment for two reads why the seven that are there do not count."""
    parts = tuple(Gpu(f"MIG-{n}", "part", Bytes(5 * GB), 3, parent="GPU-m") for n in range(7))
    total = Capacity(8, Bytes(GB), Bytes(GB), (*parts, LARGE))
    verdict = decide(needs(count=2), total, total)
    assert isinstance(verdict, Never)
    assert "2 GPUs, and there are 1 such (parts of cards do not count" in verdict.reason
    assert isinstance(decide(needs(count=1), total, total), Fits)


def test_a_shared_card_counts_for_its_group_alone() -> None:
    """What is left of it is given to the group, and to others it is no card."""
    shared = replace(LARGE, memory=Bytes(20 * GB), slots=9, group="g")
    free = replace(FREE, gpus=(shared,))
    wanted = replace(needs(slots=2, gpu_memory=8, count=1), gpu_group="g")
    verdict = decide(wanted, free, TOTAL)
    assert isinstance(verdict, Fits)
    given_out = verdict.allocation
    assert (given_out.gpus, given_out.gpu_slots) == (("GPU-c",), 2)
    assert (given_out.gpu_memory, given_out.gpu_group) == (8 * GB, "g")
    verdict = decide(replace(wanted, gpu_group="h"), free, TOTAL)
    assert verdict == Later(
        "it needs 1 GPU with 2 slots and 8.0 GB of memory, and there are 0 such free now"
    )


def test_what_is_kept_for_cards_is_told() -> None:
    """Whoever needs no GPU reads why cores that are free are not given."""
    reserve = GpuReserve(2, Bytes(5 * GB))
    assert decide(needs(3), TOTAL, TOTAL, reserve=reserve) == Never(
        "it needs 3 cores, and there are 2 (6 more are kept for experiments with a GPU) at most "
        "on this machine"
    )
    assert decide(needs(1), replace(FREE, cores=2), TOTAL, reserve=reserve) == Later(
        "it needs 1 core, and there are 0 (2 more are kept for experiments with a GPU) free now"
    )
    verdict = decide(needs(memory=2), TOTAL, TOTAL, reserve=reserve)
    assert isinstance(verdict, Never)
    assert "1.0 GB (15 GB more are kept" in verdict.reason
    assert isinstance(decide(needs(2), TOTAL, TOTAL, reserve=reserve), Fits)
    busy = replace(TOTAL, cores=5, gpus=())
    assert isinstance(decide(needs(5), busy, TOTAL, reserve=reserve), Fits)
    assert isinstance(decide(needs(8, 16, count=1), TOTAL, TOTAL, reserve=reserve), Fits)


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


@given(wants, machines, st.builds(GpuReserve, st.integers(0, 3)))
def test_an_empty_machine_takes_it_now_or_never(
    need: Needs, total: Capacity, reserve: GpuReserve
) -> None:
    """What can never start is never kept waiting."""
    assert not isinstance(decide(need, total, total, reserve=reserve), Later)
