"""Which cards the daemon's own environment leaves to give."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model import Bytes, Gpu
from runner.resources.container import inside
from runner.resources.gpu_visibility import visible

GIB = 1 << 30
A, B, C = (Gpu(f"GPU-{letter}-uuid", letter, Bytes(GIB)) for letter in "abc")
#: Two instances of a fourth card.
M, N = (Gpu(f"MIG-{letter}-uuid", letter, Bytes(GIB), parent="GPU-d-uuid") for letter in "mn")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [A, B, C]),
        ({"CUDA_VISIBLE_DEVICES": "all"}, [A, B, C]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [B]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [C, A]),
        ({"CUDA_VISIBLE_DEVICES": " 2 , 2 "}, [C]),
        ({"CUDA_VISIBLE_DEVICES": "2,GPU-c-uuid,GPU-c"}, [C]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b-uuid,GPU-a-uuid"}, [B, A]),
        ({"CUDA_VISIBLE_DEVICES": "gpu-C"}, [C]),
        ({"CUDA_VISIBLE_DEVICES": "0,"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "-2"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, [A]),
        ({"CUDA_VISIBLE_DEVICES": "none"}, []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [A, B, C]),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-a-uuid"}, [A]),
        ({"NVIDIA_VISIBLE_DEVICES": "nvidia.com/gpu=1,nvidia.com/gpu=GPU-a-uuid"}, [B, A]),
        ({"CUDA_VISIBLE_DEVICES": "1", "NVIDIA_VISIBLE_DEVICES": "0"}, [B]),
    ],
)
def test_named_cards_are_visible(variables: dict[str, str], expected: list[Gpu]) -> None:
    """Indexes, UUIDs, their beginnings and the words for all and none mean what CUDA means."""
    found = visible([A, B, C], variables)
    assert list(found.gpus) == expected
    assert not found.misnamed


@pytest.mark.parametrize(
    ("value", "named", "rest"),
    [
        ("3", "'3'", []),
        ("0,7,9", "'7', '9'", [A]),
        ("GPU-", "'GPU-'", []),
        ("GPU-x,1", "'GPU-x'", [B]),
        ("²", "'²'", []),
        ("0:0", "'0:0'", []),
        ("MIG-m-uuid", "'MIG-m-uuid'", []),
    ],
)
@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"])
def test_a_card_that_is_not_there_is_named_with_those_that_are(
    variable: str, value: str, named: str, rest: list[Gpu]
) -> None:
    """The operator reads which word is wrong and what may be written instead."""
    found = visible([A, B, C], {variable: value})
    assert list(found.gpus) == rest
    assert found.misnamed.startswith(f"{variable} names {named}, and no card")
    assert "there are 0 (a, GPU-a-uuid); 1 (b, GPU-b-uuid); 2 (c, GPU-c-uuid)" in found.misnamed
    assert found.why_none == ("" if rest else found.misnamed)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", [M, N]),
        ("GPU-d", [M, N]),
        ("1:1", [N]),
        ("1:1,2,1", [N, B, M]),
        ("MIG-n-uuid,MIG-n", [N]),
        ("MIG-GPU-d-uuid/3/0", [N]),
        ("2", [B]),
    ],
)
@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"])
def test_instances_of_a_card_are_named_alone_or_together(
    variable: str, value: str, expected: list[Gpu]
) -> None:
    """A card in MIG mode is one index, and its name stands for all its instances."""
    aliases = {"MIG-GPU-d-uuid/3/0": "MIG-n-uuid"}
    found = visible([A, M, N, B], {variable: value}, aliases=aliases)
    assert list(found.gpus) == expected
    assert not found.misnamed


def test_the_places_of_instances_are_told() -> None:
    """In the form in which they can be written."""
    assert "1:0 (m, MIG-m-uuid); 1:1 (n, MIG-n-uuid); 2 (b" in (
        visible([A, M, N, B], {"CUDA_VISIBLE_DEVICES": "1:2"}).misnamed
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("void", [A, B]),
        ("", [A, B]),
        ("/var/run/nvidia-container-devices", [A, B]),
        ("5", [A, B]),
        ("0,5", [A, B]),
        ("2:1", [A, B]),
        ("1", [B]),
        ("GPU-b", [B]),
        ("none", []),
    ],
)
def test_a_container_has_what_it_was_given(value: str, expected: list[Gpu]) -> None:
    """Its runtime has read the variable already, and counts the host's cards by it.

    Outside of a container, and of CUDA's own variable, the same words are a mistake or hide all.
    """
    found = visible([A, B], {"NVIDIA_VISIBLE_DEVICES": value}, in_container=True)
    assert list(found.gpus) == expected
    assert not found.misnamed
    found = visible([A, B], {"CUDA_VISIBLE_DEVICES": value}, in_container=True)
    assert len(found.gpus) < len([A, B])


def test_a_wrong_uuid_is_a_mistake_in_a_container_too() -> None:
    """The container's runtime knows no other numbering of those."""
    found = visible([A], {"NVIDIA_VISIBLE_DEVICES": "GPU-x"}, in_container=True)
    assert found.misnamed


def test_hiding_everything_names_the_variable() -> None:
    """No cards is explained by the variable and its value."""
    found = visible([A, B, C], {"NVIDIA_VISIBLE_DEVICES": "-1"})
    assert found.why_none.startswith("NVIDIA_VISIBLE_DEVICES is '-1', which hides all cards")


def test_a_card_that_does_not_answer_keeps_its_place() -> None:
    """Indexes count lost cards; naming one finds nothing, and is no mistake of the operator's."""
    assert visible([None, B], {"CUDA_VISIBLE_DEVICES": "1"}).gpus == (B,)
    assert visible([None, B], {}).gpus == (B,)
    for name in ("0", "GPU-a-uuid"):
        found = visible([None, B], {"CUDA_VISIBLE_DEVICES": f"{name},1"})
        assert (found.gpus, found.misnamed) == ((B,), "")
        found = visible([None, B], {"CUDA_VISIBLE_DEVICES": name})
        assert (found.gpus, found.misnamed) == ((), "")
        assert "0, which does not answer" in found.why_none
    assert visible([None, B], {"CUDA_VISIBLE_DEVICES": "2"}).misnamed


@given(st.text(alphabet="0123-,:GPUMIabcn ", max_size=30), st.booleans())
def test_any_value_gives_distinct_cards_or_a_reason(value: str, in_container: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """No value breaks the probe, doubles a card or hides all cards silently."""
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        found = visible([A, M, N, C], {name: value}, in_container=in_container)
        assert len(set(found.gpus)) == len(found.gpus)
        assert set(found.gpus) <= {A, M, N, C}
        assert bool(found.gpus) != bool(found.why_none)


def test_a_container_is_known_by_its_namespace_or_its_marks(tmp_path: Path) -> None:
    """Each sign is enough; a machine of one's own has none."""
    namespace = tmp_path / "proc/self/ns/pid"
    namespace.parent.mkdir(parents=True)
    namespace.symlink_to("pid:[4026531836]")
    assert not inside({"HOME": "/root", "container": ""}, root=tmp_path)
    assert inside({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root=tmp_path)
    (tmp_path / ".dockerenv").touch()
    assert inside({}, root=tmp_path)
    (tmp_path / ".dockerenv").unlink()
    namespace.unlink()
    namespace.symlink_to("pid:[4026532001]")
    assert inside({}, root=tmp_path)
