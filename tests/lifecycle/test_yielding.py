"""Caches give way, in their order, as far as something is missing."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from runner.errors import HostFault
from runner.lifecycle.disk.yielding import keep_room, on_the_disk_of
from runner.model import Bytes

pytestmark = pytest.mark.anyio


class Disk:
    """So much is missing; says when it was looked at in vain."""

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.is_fine = anyio.Event()

    def shortage(self) -> Bytes:
        """Return it."""
        if self.missing <= 0:
            self.is_fine.set()
        return Bytes(self.missing)


class Kept:
    """A cache of so many bytes."""

    def __init__(self, disk: Disk, size: int, *, is_broken: bool = False) -> None:
        self.disk, self.size, self.is_broken = disk, size, is_broken

    async def give_way(self, wanted: Bytes) -> None:
        """Free what there is."""
        if self.is_broken:
            raise HostFault("a broken disk")
        freed = min(wanted, self.size)
        self.size -= freed
        self.disk.missing -= freed


async def kept_until_fine(disk: Disk, *kept: Kept) -> None:
    """Run until nothing is missing."""
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: keep_room(disk.shortage, kept, pause=0.001))
        with anyio.fail_after(30):
            await disk.is_fine.wait()
        group.cancel_scope.cancel()


async def test_the_first_gives_way_first() -> None:
    """No more is freed than is missing, and the second only gives what the first had not."""
    disk = Disk(150)
    first, second = Kept(disk, 100), Kept(disk, 100)
    await kept_until_fine(disk, first, second)
    assert (first.size, second.size) == (0, 50)


async def test_one_that_cannot_costs_the_others_nothing() -> None:
    """A cache on a broken disk is passed over."""
    disk = Disk(10)
    broken, sound = Kept(disk, 100, is_broken=True), Kept(disk, 100)
    await kept_until_fine(disk, broken, sound)
    assert (broken.size, sound.size) == (100, 90)


async def test_it_goes_on_looking() -> None:
    """What is missing later is freed later."""
    disk = Disk(0)
    kept = Kept(disk, 100)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: keep_room(disk.shortage, [kept], pause=0.001))
        await disk.is_fine.wait()
        disk.is_fine = anyio.Event()
        disk.missing = 30
        with anyio.fail_after(30):
            await disk.is_fine.wait()
        group.cancel_scope.cancel()
    assert kept.size == 70


def test_only_what_is_on_the_same_disk_helps(tmp_path: Path) -> None:
    """A cache elsewhere, or gone, is left alone."""
    here, elsewhere = Kept(Disk(0), 1), Kept(Disk(0), 2)
    found = on_the_disk_of(
        tmp_path, [(elsewhere, Path("/proc")), (here, tmp_path), (elsewhere, tmp_path / "gone")]
    )
    assert found == [here]
    assert on_the_disk_of(tmp_path / "gone", [(here, tmp_path)]) == []
