"""Every card has slots: of the reference runner, of today's cards, and of the operator's table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.model import Bytes
from runner.resources.gpu_slots import KNOWN, NEWER, SlotTable, slots

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GeForce GTX 1050 Ti", 2),
        ("NVIDIA GeForce GTX 1060 6GB", 2),
        ("NVIDIA GeForce GTX 1080 Ti", 2),
        ("NVIDIA TITAN X (Pascal)", 2),
        ("GeForce RTX 2080 Ti", 2),
        ("Tesla K80", 2),
        ("NVIDIA P40", 4),
        ("Tesla P100-PCIE-16GB", 8),
        ("Tesla V100-SXM2-16GB", 16),
        ("NVIDIA V100-SXM2-32GB", 16),
        ("A100-SXM4-40GB", 24),
        ("NVIDIA A100-SXM4-40GB", 24),
    ],
)
def test_the_reference_runners_cards_have_its_slots(name: str, expected: int) -> None:
    """The values of protocol section 6.5 at HEAD: experiments were written for them."""
    assert slots(name, Bytes(0)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Tesla M60", 2),
        ("Tesla P4", 2),
        ("NVIDIA A2", 2),
        ("Tesla T4", 4),
        ("NVIDIA A16", 4),
        ("NVIDIA L4", 8),
        ("NVIDIA A10", 12),
        ("NVIDIA A10G", 12),
        ("NVIDIA A30", 16),
        ("NVIDIA A40", 16),
        ("NVIDIA H20", 16),
        ("NVIDIA A100 80GB PCIe", 24),
        ("NVIDIA A800-SXM4-80GB", 24),
        ("NVIDIA L40", 24),
        ("NVIDIA L40S", 32),
        ("NVIDIA H100 80GB HBM3", 48),
        ("NVIDIA H200", 48),
        ("NVIDIA GH200 480GB", 48),
        ("NVIDIA B200", 96),
        ("NVIDIA GB200", 96),
        ("NVIDIA TITAN V", 2),
        ("NVIDIA TITAN RTX", 4),
        ("Quadro RTX 6000", 4),
        ("NVIDIA RTX A2000 12GB", 4),
        ("NVIDIA RTX A6000", 16),
        ("NVIDIA RTX 6000 Ada Generation", 32),
        ("NVIDIA RTX 4000 SFF Ada Generation", 8),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 48),
        ("NVIDIA GeForce RTX 2070 SUPER", 2),
        ("NVIDIA GeForce RTX 3060", 2),
        ("NVIDIA GeForce RTX 3060 Ti", 4),
        ("NVIDIA GeForce RTX 3080", 8),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 4),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", 4),
        ("NVIDIA GeForce RTX 4070", 8),
        ("NVIDIA GeForce RTX 4070 SUPER", 8),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 12),
        ("NVIDIA GeForce RTX 4090", 24),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 12),
        ("NVIDIA GeForce RTX 5090", 32),
        ("nvidia geforce rtx 5070 ti", 16),
    ],
)
def test_todays_cards_are_known(name: str, expected: int) -> None:
    """As the driver writes their names; the longest part that is known decides."""
    assert slots(name, Bytes(0)) == expected


@pytest.mark.parametrize(
    ("name", "memory", "expected"),
    [
        ("NVIDIA A1000000", 80 * GIB - 1, 40),
        ("NVIDIA L40X", 5 * GIB, 3),
        ("a card of tomorrow", 1, 1),
        ("a card of no memory", 0, 1),
        ("", 4 * GIB, 2),
    ],
)
def test_an_unknown_card_has_a_slot_for_two_gibibytes(
    name: str, memory: int, expected: int
) -> None:
    """Each started one, and at least one: a new card works before anybody wrote it down."""
    assert slots(name, Bytes(memory)) == expected


@pytest.mark.parametrize(
    ("name", "memory", "expected"),
    [
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5, 3),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", 5, 3),
        ("NVIDIA A100-SXM4-40GB MIG 2g.10gb", 10, 6),
        ("NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb", 10, 3),
        ("NVIDIA A100-SXM4-40GB MIG 7g.40gb", 40, 24),
        ("NVIDIA A30 MIG 1g.6gb", 6, 4),
        ("NVIDIA A30 MIG 4g.24gb", 24, 16),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40, 20),
        ("a card of tomorrow MIG 1g.6gb", 6, 3),
        ("NVIDIA A100-SXM4-40GB MIG of tomorrow", 10, 5),
    ],
)
def test_a_part_of_a_card_has_its_share(name: str, memory: int, expected: int) -> None:
    """Rounded down, so that all parts together have no more than the card."""
    assert slots(name, Bytes(memory * GIB)) == expected


@given(st.text(max_size=60), st.integers(0, 1 << 40))
def test_whatever_a_card_is_called_it_has_a_slot(name: str, memory: int) -> None:
    """One that has none could never be used."""
    assert slots(name, Bytes(memory)) >= 1
    assert slots(f"{name} MIG {name}", Bytes(memory)) >= 1


def test_every_entry_is_found_by_its_own_name() -> None:
    """No entry hides another."""
    for part, number in (NEWER | KNOWN).items():
        assert slots(f"NVIDIA {part} x", Bytes(0)) == number


# ------------------------------------------------------------------ the operator's table

TABLE = """
# what we give out here
40 A100          # all of them
8 L4
12 A100-SXM4-40GB
5 MIG 1g.5gb
2 Card of Tomorrow
"""


def test_the_operators_file_comes_first(tmp_path: Path) -> None:
    """Even where it names less of the name than the built-in table does."""
    file = tmp_path / "slots"
    file.write_text(TABLE)
    table = SlotTable.read(file)
    assert table("NVIDIA A100 80GB PCIe", Bytes(0)) == 40
    assert table("NVIDIA A100-SXM4-40GB", Bytes(0)) == 12
    assert table("NVIDIA A100-SXM4-80GB MIG 2g.20gb", Bytes(0)) == 11
    assert table("NVIDIA A100-SXM4-40GB MIG 1g.5gb", Bytes(0)) == 5
    assert table("NVIDIA L4", Bytes(0)) == 8
    assert table("NVIDIA L40S", Bytes(0)) == 32
    assert table("a card of tomorrow", Bytes(99 * GIB)) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A100 40", "write the slots and then a part of the card's name"),
        ("40", "write the slots and then a part of the card's name"),
        ("4.5 A100", "write the slots and then a part of the card's name"),
        ("4 --", "write the slots and then a part of the card's name"),
        ("0 A100", "gives 0 slots to 'A100': write 1 to 10000"),
        ("-3 A100", "gives -3 slots to 'A100'"),
        ("99999999999999999999999 A100", "write 1 to 10000"),
        ("9 nvidia-L4", "names 'nvidia-L4' as line 1 does"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, line: str, said: str) -> None:
    """With the file, the line, and what to write instead."""
    file = tmp_path / "slots"
    file.write_text(f"8 NVIDIA L4\n\n{line}\n")
    with pytest.raises(Misconfigured) as caught:
        SlotTable.read(file)
    assert said in str(caught.value)
    assert f"line 3 of --gpu-slots-file {file}" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a directory, or no text."""
    with pytest.raises(Misconfigured, match="No such file"):
        SlotTable.read(tmp_path / "none")
    with pytest.raises(Misconfigured, match="Is a directory"):
        SlotTable.read(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match="no text in UTF-8"):
        SlotTable.read(tmp_path / "binary")
