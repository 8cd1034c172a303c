"""The smallest card that suffices, the nearest cards of one kind, and nobody's card by accident."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.gpus.choice import choose_gpus, suitable, take_gpus
from runner.model import Bytes, Gpu, Needs

GB = 10**9
FAR = Gpu.FAR


def card(
    name: str,
    memory: int = 80,
    slots: int = 24,
    *,
    kind: str = "A100",
    parent: str = "",
    group: str = "",
    links: Sequence[tuple[str, int]] = (),
) -> Gpu:
    """Return a card with so many gigabytes."""
    return Gpu(f"GPU-{name}", kind, Bytes(memory * GB), slots, parent, tuple(links), group)


def linked(cards: Sequence[Gpu], *groups: str, hops: int = Gpu.NVLINK) -> tuple[Gpu, ...]:
    """Join the cards of each group, written by letters, to each other."""
    near = {
        f"GPU-{letter}": [(f"GPU-{other}", hops) for other in group if other != letter]
        for group in groups
        for letter in group
    }
    return tuple(
        Gpu(one.uuid, one.name, one.memory, one.slots, links=(*one.links, *near.get(one.uuid, ())))
        for one in cards
    )


def asked(slots: int = 0, memory: int = 0, count: int = 1, group: str = "") -> Needs:
    """Return the needs of cards alone."""
    return Needs(gpu_slots=slots, gpu_memory=Bytes(memory * GB), gpu_count=count, gpu_group=group)


def names(chosen: Sequence[Gpu] | None) -> str:
    """Return the letters of the chosen cards, in alphabetical order."""
    assert chosen is not None
    return "".join(sorted(gpu.uuid.removeprefix("GPU-") for gpu in chosen))


# ------------------------------------------------------------------ one card

P40 = card("p", 24, 4, kind="P40")
P100 = card("q", 16, 8, kind="P100")
V100 = card("v", 16, 16, kind="V100")
A40 = card("w", 48, 16, kind="A40")


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (asked(slots=1), "p"),
        (asked(slots=4), "p"),
        (asked(slots=5), "q"),
        (asked(slots=9), "v"),
        (asked(slots=1, memory=8), "q"),
        (asked(slots=9, memory=8), "v"),
        (asked(memory=17), "p"),
        (asked(memory=25), "w"),
        (asked(), "p"),
    ],
)
def test_the_smallest_card_that_suffices_is_given(needs: Needs, expected: str) -> None:
    """Measured by what is asked for: by memory where memory is stated, else by slots."""
    for order in itertools.permutations((P40, P100, V100, A40)):
        assert names(choose_gpus(needs, order)) == expected


def test_what_no_card_has_is_not_given() -> None:
    """Nothing is put together out of several cards, and nothing out of none."""
    cards = (P40, P100, V100, A40)
    assert choose_gpus(asked(slots=17), cards) is None
    assert choose_gpus(asked(memory=49), cards) is None
    assert choose_gpus(asked(slots=16, memory=16, count=3), cards) is None
    assert choose_gpus(asked(), ()) is None
    assert choose_gpus(asked(count=0), ()) == ()


def test_a_pair_stays_together_for_who_needs_two() -> None:
    """One card is taken where its neighbour is in use already."""
    cards = linked([card(letter) for letter in "abcd"], "ab", "cd")
    assert names(choose_gpus(asked(), cards)) == "a"
    assert names(choose_gpus(asked(), [gpu for gpu in cards if gpu.uuid != "GPU-c"])) == "d"


# ------------------------------------------------------------------ several cards


def test_nvlink_comes_before_pcie_and_pcie_before_the_host() -> None:
    """Although the names would put others first."""
    cards = [card(letter) for letter in "abcdef"]
    near = linked(linked(cards, "be", hops=1), "cf")
    assert names(choose_gpus(asked(count=2), near)) == "cf"
    assert names(choose_gpus(asked(count=2), [g for g in near if g.uuid != "GPU-f"])) == "be"
    assert names(choose_gpus(asked(count=2), cards)) == "ab"


def test_the_largest_distance_of_a_set_counts_first_then_the_sum() -> None:
    """A set is as fast as its slowest link: a pair in it that is even nearer makes up for none."""
    cards = linked([card(letter) for letter in "abcdef"], "def", hops=2)
    assert names(choose_gpus(asked(count=3), linked(cards, "ab"))) == "def"
    cards = linked([card(letter) for letter in "abcdef"], "abcdef", hops=2)
    assert names(choose_gpus(asked(count=3), linked(cards, "de"))) == "ade"


def test_two_of_a_kind_come_before_nearer_ones() -> None:
    """Unlike cards wait for each other; they are put together only where nothing else is free."""
    unlike = [
        card("a", kind="A100"),
        card("b", 32, 16, kind="V100"),
        card("c", kind="A100"),
    ]
    cards = linked(unlike, "ab")
    assert names(choose_gpus(asked(count=2), cards)) == "ac"
    assert names(choose_gpus(asked(count=2), cards[:2])) == "ab"
    assert names(choose_gpus(asked(count=3), cards)) == "abc"


def test_of_two_kinds_the_smaller_one_is_taken() -> None:
    """Where nothing says which are nearer."""
    cards = [card(letter, 80) for letter in "ab"] + [card(n, 40, kind="A30") for n in "yz"]
    assert names(choose_gpus(asked(count=2, memory=30), cards)) == "yz"
    assert names(choose_gpus(asked(count=2, memory=50), cards)) == "ab"


def test_a_set_holds_no_mig_instance() -> None:
    """A CUDA process sees a single one, and no card beside it; alone each of them will do."""
    instances = [card(letter, 10, 3, parent="GPU-m") for letter in "xyz"]
    assert choose_gpus(asked(count=2), instances) is None
    assert choose_gpus(asked(count=2), [*instances, card("a")]) is None
    assert names(choose_gpus(asked(count=2), [*instances, card("a"), card("b")])) == "ab"
    assert names(choose_gpus(asked(count=1), [card("a"), *instances])) == "x"


# ------------------------------------------------------------------ sharing


def test_a_card_that_the_group_shares_already_is_filled_first() -> None:
    """The fullest one that still has enough; a whole card only when none has."""
    cards = [
        card("a", 80),
        card("b", 30, 9, group="g"),
        card("c", 12, 3, group="g"),
        card("d", 24, 12, kind="L4"),
    ]
    assert names(choose_gpus(asked(1, 10, group="g"), cards)) == "c"
    assert names(choose_gpus(asked(4, 10, group="g"), cards)) == "b"
    assert names(choose_gpus(asked(10, 10, group="g"), cards)) == "d"
    assert names(choose_gpus(asked(1, 40, group="g"), cards)) == "a"


def test_nobody_gets_another_groups_card() -> None:
    """Nor does who shares with nobody, however much is left of it."""
    cards = [card("a", group="g")]
    assert choose_gpus(asked(1, 1, group="h"), cards) is None
    assert choose_gpus(asked(1, 1), cards) is None
    assert names(choose_gpus(asked(1, 1, group="g"), cards)) == "a"


def test_what_states_no_memory_gets_a_whole_card() -> None:
    """The reference runner gave it all that was left of a shared one.

    Nothing bounds what it uses, so that would be the others' memory: it waits for a card of its
    own, as experiments do that share nothing.
    """
    cards = [card("a", group="g"), card("b")]
    for needs in (asked(group="g"), asked(slots=2, group="g")):
        assert names(choose_gpus(needs, cards)) == "b"
        assert choose_gpus(needs, cards[:1]) is None


def test_several_shared_cards_are_chosen_like_whole_ones() -> None:
    """The nearest first, then those that are shared already."""
    cards = linked([card(letter) for letter in "abcd"], "cd")
    needs = asked(1, 10, 2, group="g")
    assert names(choose_gpus(needs, cards)) == "cd"
    shared = [*cards[:3], card("d", 70, 20, group="g", links=cards[3].links)]
    assert names(choose_gpus(needs, shared)) == "cd"
    shared = [card("a"), card("b", 70, 20, group="g"), card("c", 60, 20, group="g")]
    assert names(choose_gpus(needs, shared)) == "bc"


def test_what_is_left_after_a_choice_can_be_chosen_from() -> None:
    """Whole cards are gone, shared ones smaller, and one of which nothing is left is gone."""
    cards = (card("a", 80, 24), card("b", 10, 2, group="g"))
    assert take_gpus(asked(count=1, slots=3), cards) == cards[1:]
    assert take_gpus(asked(1, 30, group="g"), cards) == (card("a", 50, 23, group="g"), cards[1])
    assert take_gpus(asked(0, 5, group="g"), cards) == (cards[0], card("b", 5, 1, group="g"))
    assert take_gpus(asked(1, 10, group="g"), cards) == cards[:1]
    assert take_gpus(asked(count=3), cards) is None


# ------------------------------------------------------------------ for all machines

small = st.integers(1, 3)


@st.composite
def machines(draw: st.DrawFn) -> list[Gpu]:
    """Return cards of up to two kinds and any topology."""
    letters = "abcdefg"[: draw(st.integers(1, 7))]
    hops = draw(st.sampled_from([(FAR,), (0, FAR), (0, 2, FAR), range(FAR + 1)]))
    far = {pair: draw(st.sampled_from(hops)) for pair in itertools.combinations(letters, 2)}

    def one(letter: str) -> Gpu:
        links = [(f"GPU-{b}", n) for (a, b), n in far.items() if a == letter]
        links += [(f"GPU-{a}", n) for (a, b), n in far.items() if b == letter]
        kind = draw(st.sampled_from(["A", "B"]))
        group = draw(st.sampled_from(["", "", "g", "h"]))
        parent = draw(st.sampled_from(["", "", "", "GPU-mig"]))
        return card(
            letter, draw(small), draw(small), kind=kind, group=group, parent=parent, links=links
        )

    return [one(letter) for letter in letters]


wants = st.builds(
    asked, st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.sampled_from(["", "g"])
)


@given(wants, machines(), st.randoms(use_true_random=False))
def test_the_order_of_the_cards_is_nothing(
    needs: Needs, gpus: list[Gpu], lots: random.Random
) -> None:
    """The same cards give the same choice."""
    mixed = list(gpus)
    lots.shuffle(mixed)
    assert choose_gpus(needs, mixed) == choose_gpus(needs, gpus)


@given(wants, machines())
def test_a_choice_is_of_free_cards_that_suffice(needs: Needs, gpus: list[Gpu]) -> None:
    """As many as asked for, each once; and there is none only where there are too few."""
    chosen = choose_gpus(needs, gpus)
    fitting = suitable(needs, gpus)
    if chosen is None:
        assert len(fitting) < needs.gpu_count
        return
    assert len({gpu.uuid for gpu in chosen}) == needs.gpu_count
    for gpu in chosen:
        assert gpu in gpus
        assert gpu.slots >= needs.gpu_slots
        assert gpu.memory >= needs.gpu_memory
        assert gpu.group in {"", needs.gpu_group}


@given(wants, machines())
def test_no_smaller_card_would_have_done(needs: Needs, gpus: list[Gpu]) -> None:
    """Of cards in the same state none has less of one thing and no more of the other."""
    needs = asked(needs.gpu_slots, needs.gpu_memory // GB, 1, needs.gpu_group)
    chosen = choose_gpus(needs, gpus)
    if chosen is None:
        return
    (given_out,) = chosen
    for gpu in suitable(needs, gpus):
        if gpu.group == given_out.group:
            less = (gpu.memory, gpu.slots) != (given_out.memory, given_out.slots)
            assert not (less and gpu.memory <= given_out.memory and gpu.slots <= given_out.slots)


@given(wants, machines())
def test_a_set_is_the_best_of_all(needs: Needs, gpus: list[Gpu]) -> None:
    """The search leaves sets out and finds what looking at each of them finds."""
    chosen = choose_gpus(needs, gpus)
    if chosen is None or needs.gpu_count == 1:
        return
    fitting = suitable(needs, gpus)
    sets = list(itertools.combinations(fitting, needs.gpu_count))
    alike = [one for one in sets if len({gpu.name for gpu in one}) == 1] or sets
    best = min(_badness(needs, one) for one in alike)
    assert _badness(needs, chosen) == best


def _badness(needs: Needs, gpus: Sequence[Gpu]) -> tuple[int, int, int, int, int]:
    hops = [dict(a.links).get(b.uuid, FAR) for a, b in itertools.combinations(gpus, 2)]
    fresh = sum(not gpu.group for gpu in gpus) if needs.shares_cards else 0
    sizes = sum(gpu.memory for gpu in gpus), sum(gpu.slots for gpu in gpus)
    return (max(hops), sum(hops), fresh, *(sizes if needs.gpu_memory else sizes[::-1]))


def test_the_search_ends_on_any_machine() -> None:
    """64 cards without any order in their distances: what was found in time is taken."""
    lots = random.Random(6)  # noqa: S311 - no secret
    letters = [f"{number:02}" for number in range(64)]
    cards = [
        card(a, links=[(f"GPU-{b}", lots.randint(0, FAR)) for b in letters if a != b])
        for a in letters
    ]
    for count in (2, 8, 32, 64):
        chosen = choose_gpus(asked(count=count), cards)
        assert chosen is not None
        assert len({gpu.uuid for gpu in chosen}) == count


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_found_among_sixteen_cards(seed: int) -> None:
    """Eight of four quads are two of them, wherever their names put them."""
    letters = list("abcdefghijklmnop")
    random.Random(seed).shuffle(letters)  # noqa: S311 - no secret
    quads = ["".join(letters[place : place + 4]) for place in range(0, 16, 4)]
    pairs = ["".join(letters[place : place + 2]) for place in range(0, 16, 2)]
    cards = linked(linked([card(letter) for letter in letters], *quads, hops=2), *pairs)
    chosen = set(names(choose_gpus(asked(count=8), cards)))
    assert sorted(len(chosen & set(quad)) for quad in quads) == [0, 0, 4, 4]
    assert set(names(choose_gpus(asked(count=4), cards))) in [set(quad) for quad in quads]
