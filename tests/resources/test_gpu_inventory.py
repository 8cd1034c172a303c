"""What NVIDIA's driver says, as it arrives: the real ``pynvml`` over a library made for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from structlog.testing import capture_logs

from runner.model import Bytes, Gpu
from runner.resources.base import GpuInventory, GpuProcess, GpuReading
from runner.resources.gpu import NvmlProbe
from tests.servers.nvml import (
    HOST_BRIDGE,
    INTERNAL,
    MIB,
    NODE,
    NOT_FOUND,
    NOT_SUPPORTED,
    NVLINK,
    SINGLE_SWITCH,
    SWITCHES,
    SYSTEM,
    UNKNOWN_ERROR,
    Card,
    Nvml,
    Part,
)

pytestmark = [pytest.mark.anyio, pytest.mark.service("nvml")]

_GIB = 1 << 30
#: Without which there is no card; each of the others may be missing.
_NEEDED = ("nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName")
_OPTIONAL = (
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetPciInfo_v3",
    "nvmlDeviceGetP2PStatus",
    "nvmlDeviceGetTopologyCommonAncestor",
    "nvmlDeviceGetNvLinkState",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
    "nvmlEventSetCreate",
    "nvmlDeviceRegisterEvents",
    "nvmlEventSetWait_v2",
)
#: A machine as people have it: bought over the years.
_MIXED = (
    Card("Tesla T4", "GPU-t4"),
    Card("Tesla V100-SXM2-16GB", "GPU-v100"),
    Card("NVIDIA L4", "GPU-l4"),
    Card("NVIDIA A40", "GPU-a40"),
    Card("NVIDIA A100-SXM4-80GB", "GPU-a100"),
    Card("NVIDIA H100 80GB HBM3", "GPU-h100"),
    Card("NVIDIA GeForce RTX 4090", "GPU-4090"),
    Card(
        "NVIDIA A100-SXM4-40GB",
        "GPU-mig",
        parts=[Part("1g.5gb", "MIG-1"), Part("2g.10gb", "MIG-2"), Part("3g.20gb", "MIG-3")],
    ),
)


@pytest.fixture
async def probe(nvml: Nvml) -> AsyncIterator[NvmlProbe]:
    """Ask the driver of the test."""
    async with aclosing(NvmlProbe(variables=nvml.variables, timeout=60)) as probe:
        yield probe


def _uuids(found: GpuInventory) -> list[str]:
    return [gpu.uuid for gpu in found.gpus]


def _lost(found: GpuInventory) -> dict[str, str]:
    return {uuid: reading.lost for uuid, reading in found.readings.items() if reading.lost}


# ---------------------------------------------------------------------- what there is


async def test_eight_cards_of_mixed_kinds_arrive_as_they_are(nvml: Nvml, probe: NvmlProbe) -> None:
    """Name, UUID, memory, and the versions of what drives them; one is given in parts."""
    nvml.cards = _MIXED
    found = await probe.look()
    assert len(nvml.cards) == 8
    assert _uuids(found)[:7] == [card.uuid for card in _MIXED[:7]]
    assert [gpu.name for gpu in found.gpus[:7]] == [card.name for card in _MIXED[:7]]
    assert [gpu.memory for gpu in found.gpus[:7]] == [card.memory for card in nvml.cards[:7]]
    assert (found.driver, found.cuda) == ("550.54.15", "12.4")
    assert found.readings.keys() == set(_uuids(found))
    assert not found.why_none


async def test_a_card_in_mig_mode_is_replaced_by_its_instances(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """Each with its own memory and name, and the card that it is a part of."""
    nvml.cards = _MIXED
    parts = (await probe.look()).gpus[7:]
    assert [part.uuid for part in parts] == ["MIG-1", "MIG-2", "MIG-3"]
    assert [part.memory for part in parts] == [5 * _GIB, 10 * _GIB, 20 * _GIB]
    assert parts[0].name == "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert {part.parent for part in parts} == {"GPU-mig"}
    assert {gpu.parent for gpu in (await probe.look()).gpus[:7]} == {""}


async def test_slots_come_from_whoever_knows_them(nvml: Nvml) -> None:
    """A table of the operator's sees the driver's name and memory."""
    nvml.cards = [Card("NVIDIA L4"), Card("Tesla T4")]

    def slots(name: str, memory: Bytes) -> int:
        return len(name) + memory // _GIB

    async with aclosing(NvmlProbe(variables=nvml.variables, slots=slots)) as probe:
        assert [gpu.slots for gpu in (await probe.look()).gpus] == [9 + 22, 8 + 15]


async def test_the_environment_restricts_the_cards(nvml: Nvml) -> None:
    """A daemon that is shown one card gives out one card, and a part also by its older name."""
    nvml.cards = _MIXED
    for named, expected in (
        ("1", ["GPU-v100"]),
        ("MIG-2", ["MIG-2"]),
        ("MIG-GPU-mig/2/0,GPU-l4", ["MIG-2", "GPU-l4"]),
    ):
        variables = {**nvml.variables, "CUDA_VISIBLE_DEVICES": named}
        async with aclosing(NvmlProbe(variables=variables)) as probe:
            found = await probe.look()
        assert _uuids(found) == expected
        assert list(found.readings) == expected


async def test_no_cards_and_why(nvml: Nvml, probe: NvmlProbe) -> None:
    """A driver with no cards is not the same as no driver, nor as cards with nothing to give."""
    assert (await probe.look()).why_none == "the NVIDIA driver knows of no card"
    nvml.cards = [Card("NVIDIA A100-SXM4-40GB", parts=[])]
    assert "card 0 is in MIG mode and has no instances" in (await probe.look()).why_none


async def test_nearness_is_what_the_driver_tells(nvml: Nvml, probe: NvmlProbe) -> None:
    """Both ways; a pair of which it tells nothing is not named."""
    nvml.cards = [Card(uuid=f"GPU-{letter}") for letter in "abcdefg"]
    levels = (NVLINK, INTERNAL, SINGLE_SWITCH, SWITCHES, HOST_BRIDGE, NODE)
    nvml.links = {
        ("GPU-a", f"GPU-{letter}"): level for letter, level in zip("bcdefg", levels, strict=True)
    } | {("GPU-c", "GPU-b"): SYSTEM}
    a, b, c, *_ = (await probe.look()).gpus
    assert dict(a.links) == {
        f"GPU-{x}": n for x, n in zip("bcdefg", (0, 1, 1, 2, 3, 4), strict=True)
    }
    assert dict(b.links) == {"GPU-a": Gpu.NVLINK, "GPU-c": Gpu.FAR}
    assert dict(c.links) == {"GPU-a": 1, "GPU-b": Gpu.FAR}


@pytest.mark.parametrize(
    "lacking", ["nvmlDeviceGetP2PStatus", "nvmlDeviceGetNvLinkRemotePciInfo_v2"]
)
async def test_an_nvlink_shows_either_way(nvml: Nvml, probe: NvmlProbe, lacking: str) -> None:
    """Old drivers know where a link leads; through a switch, only that the cards reach another."""
    nvml.cards = [Card(), Card(), Card()]
    nvml.links = {("GPU-00000002", "GPU-00000000"): NVLINK}
    nvml.lack(lacking)
    first, second, third = (await probe.look()).gpus
    assert (first.links, third.links) == ((("GPU-00000002", 0),), (("GPU-00000000", 0),))
    assert not second.links


# ---------------------------------------------------------------------- what they say now


async def test_all_that_a_card_says_of_itself(nvml: Nvml, probe: NvmlProbe) -> None:
    """In our units: shares, degrees, watts."""
    nvml.cards = [Card("NVIDIA L4")]
    (card,) = (one.uuid for one in nvml.cards)
    assert (await probe.look()).readings[card] == GpuReading(
        utilization=0.0, temperature=40, power=60.0
    )
    nvml.change(card, utilization=87, temperature=71, power=66_500, ecc=3)
    nvml.runs(card, 4711, 2 * _GIB)
    nvml.runs(card, 12, 100 * MIB, draws=True)
    assert (await probe.look()).readings[card] == GpuReading(
        used=Bytes(2 * _GIB + 100 * MIB),
        processes=(
            GpuProcess(4711, Bytes(2 * _GIB)),
            GpuProcess(12, Bytes(100 * MIB), draws=True),
        ),
        utilization=0.87,
        temperature=71,
        power=66.5,
        ecc_errors=3,
    )
    nvml.ends(card, 4711)
    assert (await probe.look()).readings[card].used == 100 * MIB


async def test_what_draws_and_computes_does_not_only_draw(nvml: Nvml, probe: NvmlProbe) -> None:
    """The driver names such a process twice."""
    nvml.cards = [Card(uuid="GPU-a")]
    nvml.runs("GPU-a", 77, _GIB)
    nvml.runs("GPU-a", 77, _GIB, draws=True)
    found = (await probe.look()).readings["GPU-a"]
    assert found.processes == (GpuProcess(77, Bytes(_GIB)),)


async def test_a_process_of_this_machine_gives_its_memory_back_when_it_ends(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """What the stub is told of real processes, for those who test with the daemon."""
    nvml.cards = [Card(uuid="GPU-a", used=MIB)]
    async with await anyio.open_process(["sleep", "1000"]) as process:
        nvml.runs("GPU-a", process.pid, _GIB, lives=True)
        found = (await probe.look()).readings["GPU-a"]
        assert found.used == _GIB + MIB
        assert found.processes == (GpuProcess(process.pid, Bytes(_GIB)),)
        process.kill()
        await process.wait()
    found = (await probe.look()).readings["GPU-a"]
    assert (found.used, found.processes) == (MIB, ())


@pytest.mark.parametrize(
    ("change", "is_pending", "has_failed"),
    [
        ({"retiring": True}, True, False),
        ({"remapping": True}, True, False),
        ({"remap_failed": True}, False, True),
        ({"retiring": None}, False, False),
        ({"remapping": None}, False, False),
    ],
)
async def test_repairs_are_told_old_and_new(
    nvml: Nvml, probe: NvmlProbe, change: dict[str, bool], *, is_pending: bool, has_failed: bool
) -> None:
    """Older cards retire pages, newer ones remap rows; each knows nothing of the other."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b")]
    nvml.change("GPU-a", **change)
    readings = (await probe.look()).readings
    assert readings["GPU-a"].repair_pending is is_pending
    assert readings["GPU-a"].repair_failed is has_failed
    assert not readings["GPU-b"].repair_pending


async def test_a_part_says_what_its_card_says_but_for_its_own_use(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """Errors and heat are the card's; memory and processes are known of each part."""
    nvml.cards = [
        Card("NVIDIA A30", "GPU-a", parts=[Part("1g.6gb", "MIG-1"), Part("1g.6gb", "MIG-2")])
    ]
    nvml.change("GPU-a", ecc=1, temperature=66, power=120_000)
    nvml.runs("MIG-2", 99, _GIB)
    await probe.look()
    nvml.xid("GPU-a", 94)
    readings = (await probe.look()).readings
    for reading in readings.values():
        assert (reading.ecc_errors, reading.temperature, reading.xids) == (1, 66, (94,))
    assert (readings["MIG-1"].used, readings["MIG-2"].used) == (0, _GIB)
    assert readings["MIG-2"].processes == (GpuProcess(99, Bytes(_GIB)),)


async def test_what_a_card_does_not_know_is_left_empty(nvml: Nvml, probe: NvmlProbe) -> None:
    """Old drivers lack functions, cheap cards lack sensors: no card is lost by that."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b", used=_GIB)]
    nvml.links = {("GPU-a", "GPU-b"): NODE}
    for function in _OPTIONAL:
        for code in (NOT_SUPPORTED, NOT_FOUND, UNKNOWN_ERROR):
            nvml.load()
            nvml.lack(function, code=code)
            found = await probe.look()
            assert _uuids(found) == ["GPU-a", "GPU-b"], function
            assert not _lost(found), function
            assert found.readings["GPU-b"].used == _GIB, function


@pytest.mark.parametrize("function", _NEEDED)
async def test_a_card_that_does_not_say_who_it_is_is_left_out(
    nvml: Nvml, probe: NvmlProbe, function: str
) -> None:
    """Nobody could be pinned to it."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b")]
    nvml.lack(function, "GPU-a", UNKNOWN_ERROR)
    assert _uuids(await probe.look()) == ["GPU-b"]


# ---------------------------------------------------------------------- Xids


async def test_an_xid_is_told_once(nvml: Nvml, probe: NvmlProbe) -> None:
    """Those since the look before, in order; what was before the first look is history."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b")]
    nvml.xid("GPU-a", 79)
    assert (await probe.look()).readings["GPU-a"].xids == ()
    for xid in (31, 45, 31):
        nvml.xid("GPU-b", xid)
    readings = (await probe.look()).readings
    assert (readings["GPU-a"].xids, readings["GPU-b"].xids) == ((), (31, 45, 31))
    assert (await probe.look()).readings["GPU-b"].xids == ()


async def test_the_xid_of_a_card_that_is_lost_by_it_arrives(nvml: Nvml, probe: NvmlProbe) -> None:
    """It says why."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b")]
    await probe.look()
    nvml.xid("GPU-a", 79)
    nvml.lose("GPU-a")
    reading = (await probe.look()).readings["GPU-a"]
    assert (reading.lost, reading.xids) == ("GPU is lost", (79,))


# ---------------------------------------------------------------------- cards that come and go


async def test_a_card_lost_live_keeps_its_place(nvml: Nvml, probe: NvmlProbe) -> None:
    """It stays what it was, with the driver's words, and answers again when it is back."""
    nvml.cards = _MIXED
    nvml.links = {("GPU-v100", "GPU-t4"): NVLINK}
    before = await probe.look()
    nvml.lose("GPU-v100")
    nvml.lose("GPU-l4", UNKNOWN_ERROR)
    nvml.lose("GPU-mig")
    lost = await probe.look()
    assert lost.gpus == before.gpus
    assert _lost(lost) == {
        "GPU-v100": "GPU is lost",
        "GPU-l4": "Unknown Error",
        "MIG-1": "GPU is lost",
        "MIG-2": "GPU is lost",
        "MIG-3": "GPU is lost",
    }
    gone = {uuid for uuid, reading in lost.readings.items() if reading.is_gone}
    assert gone == {"GPU-v100", "MIG-1", "MIG-2", "MIG-3"}  # of the L4 the driver does not know
    nvml.mend()
    assert await probe.look() == before


async def test_a_card_that_the_driver_does_not_count_any_more_is_lost(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """And those behind it do not take its place: a variable of the daemon's counts them."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b"), Card(uuid="GPU-c")]
    before = await probe.look()
    nvml.cards = [Card(uuid="GPU-b", minor=1), Card(uuid="GPU-d"), Card(uuid="GPU-c")]
    found = await probe.look()
    assert _uuids(found) == ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]
    assert found.gpus[:3] == before.gpus
    assert _lost(found) == {"GPU-a": "the driver does not count it any more"}


async def test_a_card_lost_at_the_first_look_is_left_out_and_logged_once(nvml: Nvml) -> None:
    """Nobody knows its UUID; the others keep their indexes, and it may still come."""
    nvml.cards = [Card(uuid="GPU-a"), Card(uuid="GPU-b")]
    nvml.lose("GPU-a")
    with capture_logs() as logged:
        async with aclosing(NvmlProbe(variables=nvml.variables)) as probe:
            assert _uuids(await probe.look()) == ["GPU-b"]
            await probe.look()
            nvml.mend()
            assert _uuids(await probe.look()) == ["GPU-a", "GPU-b"]
    (line,) = logged
    assert (line["index"], line["why"]) == (0, "GPU is lost")
    nvml.lose("GPU-a")
    variables = {**nvml.variables, "CUDA_VISIBLE_DEVICES": "1"}
    async with aclosing(NvmlProbe(variables=variables)) as probe:
        assert _uuids(await probe.look()) == ["GPU-b"]


async def test_only_lost_cards_are_none_with_a_reason(nvml: Nvml, probe: NvmlProbe) -> None:
    """When no card answers, the driver's own words say why."""
    nvml.cards = [Card()]
    nvml.lose("GPU-00000000")
    assert (await probe.look()).why_none == "card 0 does not answer: GPU is lost"


async def test_a_card_partitioned_anew_has_new_parts(nvml: Nvml, probe: NvmlProbe) -> None:
    """The parts that were are lost to whoever holds them; so is the card that was whole."""
    nvml.cards = [Card("NVIDIA A30", "GPU-a")]
    await probe.look()
    nvml.cards = [Card("NVIDIA A30", "GPU-a", parts=[Part("1g.6gb", "MIG-1")])]
    found = await probe.look()
    assert _uuids(found) == ["GPU-a", "MIG-1"]
    assert _lost(found) == {"GPU-a": "the card was partitioned anew"}
    nvml.cards = [Card("NVIDIA A30", "GPU-a")]
    assert _lost(await probe.look()) == {"MIG-1": "the card was partitioned anew"}


# ---------------------------------------------------------------------- the driver comes and goes


async def test_a_driver_that_refuses_is_quoted(nvml: Nvml, probe: NvmlProbe) -> None:
    """A driver that cannot be started is a reason, not an error."""
    nvml.cards = [Card()]
    nvml.unload()
    why = "the NVIDIA driver does not answer: Driver Not Loaded"
    assert (await probe.look()).why_none == why
    nvml.load()
    assert _uuids(await probe.look()) == ["GPU-00000000"]


async def test_a_driver_that_goes_away_takes_all_cards_with_it_until_it_is_back(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """Its module was unloaded while we ran; the one that is loaded then is started anew."""
    nvml.cards = _MIXED[:2]
    before = await probe.look()
    nvml.unload()
    for _ in range(2):
        found = await probe.look()
        assert found.gpus == before.gpus
        assert set(_lost(found).values()) == {
            "the NVIDIA driver does not answer: Driver Not Loaded"
        }
        assert (found.driver, found.cuda) == ("550.54.15", "12.4")
    nvml.driver = "560.10"
    nvml.load()
    assert await probe.look() == replace(before, driver="560.10")


async def test_a_driver_reloaded_between_two_looks_is_not_noticed(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """And its Xids go on to be told."""
    nvml.cards = [Card(uuid="GPU-a")]
    before = await probe.look()
    nvml.load()
    assert await probe.look() == before
    nvml.xid("GPU-a", 13)
    assert (await probe.look()).readings["GPU-a"].xids == (13,)


async def test_another_version_of_the_driver_needs_another_process(
    nvml: Nvml, probe: NvmlProbe
) -> None:
    """The library that a process has in memory is the one that it was started with."""
    nvml.cards = [Card(uuid="GPU-a")]
    before = await probe.look()
    nvml.unload(18)
    found = await probe.look()
    assert "mismatch" in found.readings["GPU-a"].lost
    nvml.load()
    with anyio.fail_after(60):
        assert await probe.look() == before
