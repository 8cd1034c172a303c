"""What every probe promises, whatever it measures."""

from __future__ import annotations

import anyio
import pytest

from runner.resources.base import GpuProbe, HostProbe


class GpuProbeContract:
    """Inherit, and supply ``probe``."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def probe(self) -> GpuProbe:
        """Return the probe under test."""
        raise NotImplementedError

    async def test_there_are_cards_or_a_reason(self, probe: GpuProbe) -> None:
        """An inventory without cards says in a sentence why; one with cards has no excuse."""
        inventory = await probe.look()
        assert bool(inventory.gpus) != bool(inventory.why_none)

    async def test_cards_are_usable_and_distinct(self, probe: GpuProbe) -> None:
        """Each card has an identity of its own, memory, and at least one slot."""
        gpus = (await probe.look()).gpus
        assert len({gpu.uuid for gpu in gpus}) == len(gpus)
        assert all(gpu.uuid and gpu.name and gpu.memory > 0 and gpu.slots >= 1 for gpu in gpus)

    async def test_looking_again_finds_the_same(self, probe: GpuProbe) -> None:
        """Looking changes nothing, and two looks at a time do not disturb each other."""
        found = [await probe.look()]

        async def look() -> None:
            found.append(await probe.look())

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            group.start_soon(look)
        assert found[0] == found[1] == found[2]

    async def test_a_look_can_be_cancelled(self, probe: GpuProbe) -> None:
        """A cancelled look ends and leaves nothing behind (the leak check looks for it)."""
        async with anyio.create_task_group() as group:
            group.start_soon(probe.look)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()


class HostProbeContract:
    """Inherit, and supply ``probe``."""

    @pytest.fixture
    def probe(self) -> HostProbe:
        """Return the probe under test."""
        raise NotImplementedError

    def test_there_is_something_to_give(self, probe: HostProbe) -> None:
        """A machine that runs this test has a core, memory and disk; cards are not its business."""
        capacity = probe.capacity()
        assert capacity.cores >= 1
        assert capacity.memory > 0
        assert capacity.disk > 0
        assert capacity.gpus == ()

    def test_low_disk_is_a_sentence_or_nothing(self, probe: HostProbe) -> None:
        """The answer is for people; nothing means that there is enough."""
        assert isinstance(probe.disk_is_low(), str)

    def test_a_shortage_is_said_before_nothing_can_be_claimed(self, probe: HostProbe) -> None:
        """Where the disk is low something is missing; there is no negative shortage."""
        assert probe.disk_shortage() >= (1 if probe.disk_is_low() else 0)
        assert 0 <= probe.disk_below_floor() <= probe.disk_shortage()
