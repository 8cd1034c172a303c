"""The allocator cases that the protocol gives (section 9.1), and where the intent differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.environments.base import Attachment
from runner.lifecycle.claiming import admission
from runner.lifecycle.gpus.choice import choose_gpus
from runner.lifecycle.runs.variables import variables
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.ledger import Ledger
from tests.request.sample import decoded, sample


def pool(*cards: tuple[int, int]) -> Ledger:
    """Return a machine with these cards: slots and memory."""
    gpus = tuple(
        Gpu(f"GPU-{number}", "card", Bytes(memory), slots)
        for number, (slots, memory) in enumerate(cards)
    )
    return Ledger(Capacity(99, Bytes(0), Bytes(0), gpus), choose_gpus)


def wanted(slots: int, memory: int, count: int = 1) -> Needs:
    """Return what the case asks for.

    The lists of acceptable sizes that the cases name do not exist here: every card with enough
    slots will do. No case has another result for that, and G5 says so.
    """
    return Needs(1, gpu_slots=slots, gpu_memory=Bytes(memory), gpu_count=count)


def trial(ledger: Ledger, needs: Needs) -> bool:
    """Tell whether it would be given: a trial takes nothing."""
    return isinstance(admission.decide(needs, ledger.free, ledger.total), admission.Fits)


def test_g1_a_card_is_given_once() -> None:
    """The same question again gets nothing."""
    ledger = pool((1, 1))
    held = ledger.reserve(wanted(1, 1))
    assert held is not None
    assert len(held.gpus) == 1
    assert ledger.reserve(wanted(1, 1)) is None


def test_g2_cards_come_back_once() -> None:
    """One each, both back, both to one, both back; a second return is an error."""
    ledger = pool((1, 1), (1, 1))
    for needs in ([wanted(1, 1), wanted(1, 1)], [wanted(1, 1, 2)]):
        held = [share for one in needs if (share := ledger.reserve(one))]
        assert [len(share.gpus) for share in held] == [one.gpu_count for one in needs]
        for share in held:
            ledger.release(share)
        for share in held:
            with pytest.raises(ValueError, match="is not held"):
                ledger.release(share)


def test_g3_two_cards_of_four_slots() -> None:
    """A set is given whole and comes back whole."""
    ledger = pool((4, 2), (4, 2))
    held = ledger.reserve(wanted(4, 2, 2))
    assert held is not None
    assert held.gpus == ("GPU-0", "GPU-1")
    ledger.release(held)
    assert ledger.free == ledger.total


def test_g4_the_card_that_has_the_slots() -> None:
    """The reference asserts the number alone; here it is the one of eight slots."""
    ledger = pool((4, 2), (4, 2), (8, 2))
    held = ledger.reserve(wanted(8, 2))
    assert held is not None
    assert held.gpus == ("GPU-2",)


def test_g5_no_card_has_the_slots() -> None:
    """Slots are never put together out of several cards."""
    assert pool((4, 2), (4, 2)).reserve(wanted(8, 2)) is None


def test_g6_a_trial_takes_nothing() -> None:
    """Four times the same answer."""
    ledger = pool((1, 1))
    assert [trial(ledger, wanted(1, 1)) for _ in range(4)] == [True] * 4


def test_g7_a_trial_needs_the_memory() -> None:
    """Two units of a card that has one."""
    assert not trial(pool((1, 1)), wanted(2, 2))


def test_where_the_intent_differs_a_larger_card_will_do() -> None:
    """The reference wanted the exact number of slots: one slot never matched any card it knew."""
    ledger = pool((16, 32))
    assert trial(ledger, wanted(1, 1))
    assert trial(ledger, wanted(2, 8))


# ------------------------------------------------------------------ TestGPUEnv


def seen(*cards: str) -> dict[str, str]:
    """Return what an experiment with these cards sees of them."""
    env = variables(
        decoded(sample()),
        Allocation(1, Bytes(0), Bytes(0), cards),
        base={},
        home=Path("/h"),
        scratch=Path("/t"),
        name="n",
        attachment=Attachment(Path("/e/bin/python"), {}, ()),
    )
    return {name: value for name, value in env.items() if "CUDA" in name or "NVIDIA" in name}


def test_one_card_is_seen_by_its_name() -> None:
    """And by no variable of the card's own: cards have none here, their names are UUIDs."""
    assert seen("1") == {
        "CUDA_VISIBLE_DEVICES": "1",
        "NVIDIA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_several_cards_are_joined_with_commas() -> None:
    """In the order of the allocation; a list of no variables for a given card cannot be."""
    assert seen("1", "2")["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert seen("1", "2")["NVIDIA_VISIBLE_DEVICES"] == "1,2"


def test_without_a_card_none_is_seen() -> None:
    """The reference set -1 in the script, with the quotes as part of its syntax."""
    assert seen()["CUDA_VISIBLE_DEVICES"] == "-1"
    assert seen()["NVIDIA_VISIBLE_DEVICES"] == "-1"
