"""Which cards the daemon's own environment leaves to give, and how many slots they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model import Bytes, Gpu
from runner.resources.gpu_slots import KNOWN, slots
from runner.resources.gpu_visibility import visible

GIB = 1 << 30
A, B, C = (Gpu(f"GPU-{letter}-uuid", letter, Bytes(GIB)) for letter in "abc")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [A, B, C]),
        ({"CUDA_VISIBLE_DEVICES": "all"}, [A, B, C]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [B]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [C, A]),
        ({"CUDA_VISIBLE_DEVICES": " 2 , 2 "}, [C]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b-uuid,GPU-a-uuid"}, [B, A]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-c"}, [C]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,7"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "3"}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "none"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [A, B, C]),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a-uuid"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "1", "NVIDIA_VISIBLE_DEVICES": "0"}, [B]),
        ({"CUDA_VISIBLE_DEVICES": "²"}, []),
    ],
)
def test_named_cards_are_visible(variables: dict[str, str], expected: list[Gpu]) -> None:
    """Indexes, UUIDs, their beginnings and the words for all and none mean what CUDA means."""
    assert list(visible([A, B, C], variables).gpus) == expected


def test_hiding_everything_names_the_variable() -> None:
    """No cards is explained by the variable and its value."""
    why = visible([A, B, C], {"NVIDIA_VISIBLE_DEVICES": "9"}).why_none
    assert "NVIDIA_VISIBLE_DEVICES is '9'" in why


def test_a_card_that_does_not_answer_keeps_its_place() -> None:
    """Indexes count lost cards; naming one finds nothing."""
    assert visible([None, B], {"CUDA_VISIBLE_DEVICES": "1"}).gpus == (B,)
    assert visible([None, B], {"CUDA_VISIBLE_DEVICES": "0"}).gpus == ()
    assert visible([None, B], {}).gpus == (B,)


@given(st.text(alphabet="0123-,GPUabc ", max_size=30))
def test_any_value_gives_distinct_cards_or_a_reason(value: str) -> None:
    """No value breaks the probe, doubles a card or hides all cards silently."""
    found = visible([A, B, C], {"CUDA_VISIBLE_DEVICES": value})
    assert len(set(found.gpus)) == len(found.gpus)
    assert set(found.gpus) <= {A, B, C}
    assert bool(found.gpus) != bool(found.why_none)


@pytest.mark.parametrize(
    ("name", "memory", "expected"),
    [
        ("NVIDIA GeForce GTX 1080 Ti", 11 * GIB, 2),
        ("Tesla V100-SXM2-16GB", 16 * GIB, 16),
        ("NVIDIA A100-SXM4-40GB", 40 * GIB, 24),
        ("NVIDIA A100-SXM4-80GB", 80 * GIB, 40),
        ("NVIDIA H100 80GB HBM3", 80 * GIB - 1, 40),
        ("Tesla T4", 15 * GIB, 8),
        ("a card of tomorrow", 1, 1),
        ("a card of no memory", 0, 1),
    ],
)
def test_every_card_has_slots(name: str, memory: int, expected: int) -> None:
    """Known names have the reference runner's slots, others one for each started 2 GiB."""
    assert slots(name, Bytes(memory)) == expected


def test_the_table_is_the_reference_runners() -> None:
    """The values of protocol section 6.5 at HEAD, and nothing that is not in it."""
    assert sorted(set(KNOWN.values())) == [2, 4, 8, 16, 24]
    assert all(slots(f"NVIDIA {part} x", Bytes(0)) == number for part, number in KNOWN.items())
