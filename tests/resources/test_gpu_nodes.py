"""From the driver's numbers of its device nodes to what a run is shown of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.lifecycle.gpus.choice import choose_gpus
from runner.model import Allocation, Bytes, Capacity, Gpu, Needs
from runner.resources.gpu import NvmlProbe
from runner.resources.ledger import Ledger
from runner.resources.nvml.capabilities import listed, of_part
from tests.servers.nvml import Card, Nvml, Part

pytestmark = pytest.mark.anyio

_LIST = """\
config 1
monitor 2
gpu0/gi0/access 3
gpu1/gi1/access 12
gpu1/gi1/ci0/access 13
gpu1/gi2/access 21
"""
_ONE_CARD = Needs(gpu_count=1, gpu_slots=1)


@pytest.fixture
def mig_minors(tmp_path: Path) -> Path:
    """What the driver lists; of the second instance it says too little."""
    file = tmp_path / "mig-minors"
    file.write_text(_LIST)
    return file


@pytest.mark.service("nvml")
async def test_cards_and_parts_come_with_their_nodes(nvml: Nvml, mig_minors: Path) -> None:
    """The driver counts cards in another order than it numbers their nodes."""
    nvml.cards = [
        Card("NVIDIA L4", "GPU-a", minor=3),
        Card(
            "NVIDIA A100-SXM4-40GB",
            "GPU-b",
            parts=[Part("1g.5gb", "MIG-1"), Part("3g.20gb", "MIG-2")],
        ),
    ]
    probe = NvmlProbe(variables={**os.environ, **nvml.variables}, mig_minors=mig_minors)
    try:
        found = {gpu.uuid: gpu for gpu in (await probe.look()).gpus}
    finally:
        await probe.aclose()
    assert {uuid: gpu.minor for uuid, gpu in found.items()} == {"GPU-a": 3, "MIG-1": 1, "MIG-2": 1}
    assert found["GPU-a"].capabilities == ()
    assert found["MIG-1"].capabilities == (12, 13)
    assert found["MIG-2"].capabilities is None


@pytest.mark.service("nvml")
async def test_a_driver_that_does_not_tell_leaves_it_open(nvml: Nvml) -> None:
    """Then a run is shown all cards, as before: one without its own would fail."""
    nvml.cards = [Card("NVIDIA L4", "GPU-a")]
    nvml.lack("nvmlDeviceGetMinorNumber")
    probe = NvmlProbe(variables={**os.environ, **nvml.variables})
    try:
        (gpu,) = (await probe.look()).gpus
    finally:
        await probe.aclose()
    assert gpu.minor is None
    assert Allocation.of(_ONE_CARD, [gpu]).gpu_minors is None


def test_a_machine_without_such_a_list_knows_no_part(tmp_path: Path) -> None:
    """It is there while the driver is; and where its numbers are missing nothing is guessed."""
    assert listed(tmp_path / "none") == {}
    assert of_part({}, 0, 1, 0) is None
    assert of_part({"gpuNone/gi1/access": 1}, None, 1, 0) is None


def test_a_share_names_the_nodes_of_its_cards() -> None:
    """Of a card that is shared too; a card that does not tell makes all unknown."""
    cards = (_card("a", minor=3), _card("b", minor=0), _card("c"))
    assert Allocation.of(_ONE_CARD, cards[:2]).gpu_minors == (3, 0)
    assert Allocation.of(_ONE_CARD, cards[:2]).gpu_capabilities == ()
    assert Allocation.of(_ONE_CARD, cards).gpu_minors is None
    shared = Needs(gpu_count=1, gpu_slots=1, gpu_memory=Bytes(1), gpu_group="g")
    assert Allocation.of(shared, cards[:1]).gpu_minors == (3,)


def test_two_parts_of_one_card_have_one_node_and_their_own_keys() -> None:
    """What opens one part does not open the other."""
    parts = (_card("p", minor=1, opens=(12, 13)), _card("q", minor=1, opens=(21, 22)))
    share = Allocation.of(_ONE_CARD, parts)
    assert (share.gpu_minors, share.gpu_capabilities) == ((1,), (12, 13, 21, 22))


def test_cards_that_are_added_later_bring_their_nodes() -> None:
    """As they do when the sandbox starts; a second group member learns the same of what is left."""
    needs = Needs(gpu_count=1, gpu_slots=1, gpu_memory=Bytes(1), gpu_group="g")
    total = Capacity(2, Bytes(10), Bytes(10), (_card("a", minor=3),))
    ledger = Ledger(total, choose_gpus)
    for _ in range(2):
        bare = ledger.reserve(Needs())
        assert bare is not None
        equipped = ledger.equip(bare, needs)
        assert equipped is not None
        assert (equipped.cores, equipped.gpu_minors) == (1, (3,))


def _card(uuid: str, *, minor: int | None = None, opens: tuple[int, ...] = ()) -> Gpu:
    return Gpu(uuid, "L4", Bytes(10), slots=10, minor=minor, capabilities=opens)
