"""Cards are withheld, named and given out again: the real probe over a driver that breaks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from runner.lifecycle.claiming.admission import choose_gpus
from runner.lifecycle.gpus.cards import Cards
from runner.lifecycle.gpus.health import Kind
from runner.lifecycle.gpus.watch import GpuWatch
from runner.model import Allocation, Bytes, Capacity, Needs, News, Report
from runner.resources.gpu import NvmlProbe
from runner.resources.ledger import Ledger
from tests.lifecycle.machine import seen
from tests.servers.nvml import Card, Nvml, Part

pytestmark = [pytest.mark.anyio, pytest.mark.service("nvml")]

GIB = 1 << 30
ONE = Needs(cores=1, gpu_count=1)
PATIENCE = 60.0


@dataclass
class Scene:
    """A driver with cards, the books about them, and somebody who looks."""

    nvml: Nvml
    ledger: Ledger
    watch: GpuWatch
    reports: list[Report]
    #: Times that the intake was woken.
    woken: list[None] = field(default_factory=list)

    @property
    def why(self) -> dict[str, Kind]:
        """Return what is withheld, and why."""
        return {uuid: one.kind for uuid, one in self.watch.cards.withheld.items()}

    @property
    def free(self) -> list[str]:
        """Return the cards that are given out."""
        return [gpu.uuid for gpu in self.ledger.free.gpus]

    def told(self) -> list[tuple[News, str]]:
        """Return what was told, by topic."""
        return [(report.news, report.topic) for report in self.reports]

    def take(self, needs: Needs = ONE) -> Allocation:
        """Have an experiment."""
        allocation = self.ledger.reserve(needs)
        assert allocation is not None
        return allocation


@asynccontextmanager
async def scene(
    nvml: Nvml, *cards: Card, interval: float = 0.01, answer: float = PATIENCE
) -> AsyncIterator[Scene]:
    """Watch these cards."""
    nvml.cards = cards
    async with aclosing(
        NvmlProbe(variables={**os.environ, **nvml.variables}, timeout=answer)
    ) as probe:
        inventory = await probe.look()
        total = Capacity(8, Bytes(GIB), Bytes(GIB), inventory.gpus)
        ledger, reports = Ledger(total, choose_gpus), list[Report]()

        async def report(news: Report) -> None:
            reports.append(news)

        known = Cards(total.gpus, noise=Bytes(512 << 20))
        watch = GpuWatch(probe, known, ledger, report, interval)
        found = Scene(nvml, ledger, watch, reports)
        watch.listeners.append(lambda: found.woken.append(None))
        watch.begin(inventory)
        async with anyio.create_task_group() as group:
            group.start_soon(watch.watch)
            yield found
            group.cancel_scope.cancel()


L4, T4 = Card("NVIDIA L4", "GPU-l4"), Card("Tesla T4", "GPU-t4")


async def test_a_card_with_errors_is_withheld_and_given_out_when_they_are_gone(
    nvml: Nvml,
) -> None:
    """Live, told once at its beginning and once at its end, and whoever waits is woken."""
    async with scene(nvml, L4, T4) as here:
        assert here.free == ["GPU-l4", "GPU-t4"]
        nvml.change("GPU-l4", ecc=2)
        await seen(lambda: here.why == {"GPU-l4": Kind.ECC})
        assert here.free == ["GPU-t4"]
        assert "2 errors that could not be corrected" in here.ledger.withheld["GPU-l4"]
        here.woken.clear()
        nvml.change("GPU-l4", ecc=0)
        await seen(lambda: here.free == ["GPU-l4", "GPU-t4"])
        await seen(lambda: len(here.reports) == 2)
        assert here.woken
    assert here.told() == [(News.GPU_WITHHELD, "gpu GPU-l4"), (News.RECOVERED, "gpu GPU-l4")]
    assert here.reports[0].text.startswith("GPU-l4 (NVIDIA L4) is not given out: its memory had")


@pytest.mark.parametrize(
    ("breaks", "kind"),
    [
        (lambda nvml: nvml.lose("GPU-l4"), Kind.LOST),
        (lambda nvml: nvml.change("GPU-l4", remapping=True), Kind.REPAIR),
        (lambda nvml: nvml.change("GPU-l4", retiring=True), Kind.REPAIR),
        (lambda nvml: nvml.change("GPU-l4", remap_failed=True), Kind.REPAIR),
        (lambda nvml: nvml.xid("GPU-l4", 79), Kind.XID),
        (lambda nvml: nvml.runs("GPU-l4", 4711, GIB), Kind.FOREIGN),
    ],
    ids=["lost", "remapping", "retiring", "unmappable", "xid", "foreign"],
)
async def test_each_trouble_withholds_its_card_alone(
    nvml: Nvml, breaks: Callable[[Nvml], None], kind: Kind
) -> None:
    """As the real driver library tells it."""
    async with scene(nvml, L4, T4) as here:
        breaks(nvml)
        await seen(lambda: here.why == {"GPU-l4": kind})
        assert here.free == ["GPU-t4"]


async def test_what_is_broken_at_the_start_is_never_given_out(nvml: Nvml) -> None:
    """It is judged before anybody can claim anything."""
    nvml.cards = [L4, T4]
    nvml.change("GPU-t4", ecc=1)
    async with scene(nvml, *nvml.cards) as here:
        assert here.free == ["GPU-l4"]


async def test_what_an_experiment_did_wrong_is_no_reason(nvml: Nvml) -> None:
    """Nor a desktop, nor a little memory."""
    async with scene(nvml, L4) as here:
        nvml.xid("GPU-l4", 31)
        nvml.xid("GPU-l4", 13)
        nvml.runs("GPU-l4", 1, GIB, draws=True)
        nvml.runs("GPU-l4", 2, 100 << 20)
        await here.watch.cards.next_look()
        await here.watch.cards.next_look()
        assert here.free == ["GPU-l4"]
    assert here.reports == []


async def test_a_part_of_a_card_is_judged_by_its_own_memory(nvml: Nvml) -> None:
    """And falls with its card."""
    parts = [Part("1g.5gb", "MIG-a"), Part("3g.20gb", "MIG-b")]
    async with scene(nvml, Card("NVIDIA A100-SXM4-40GB", "GPU-a", parts=parts)) as here:
        assert here.free == ["MIG-a", "MIG-b"]
        nvml.change("MIG-b", used=2 * GIB)
        await seen(lambda: here.why == {"MIG-b": Kind.FOREIGN})
        nvml.change("GPU-a", ecc=1)
        await seen(lambda: here.why == {"MIG-a": Kind.ECC, "MIG-b": Kind.ECC})


async def test_a_driver_that_dies_withholds_every_card_and_is_told_of_once(nvml: Nvml) -> None:
    """Shares without cards are given on; the cards are back with the driver."""
    async with scene(nvml, L4, T4) as here:
        nvml.unload()
        await seen(lambda: set(here.why.values()) == {Kind.DRIVER})
        assert here.free == []
        here.take(Needs(cores=1))
        assert here.ledger.reserve(ONE) is None
        nvml.load()
        await seen(lambda: here.free == ["GPU-l4", "GPU-t4"])


async def test_a_driver_that_hangs_withholds_every_card(nvml: Nvml) -> None:
    """Nobody waits for it but who looks; it is asked again and again."""
    async with scene(nvml, L4, T4, answer=0.5) as here:
        nvml.hang()
        await seen(lambda: set(here.why.values()) == {Kind.DRIVER})
        nvml.mend()
        await seen(lambda: here.free == ["GPU-l4", "GPU-t4"])


# ------------------------------------------------------------------ after a run


async def test_a_card_comes_back_with_its_memory(nvml: Nvml) -> None:
    """From the very step of the release it is nobody's, until a look has seen it free."""
    async with scene(nvml, L4, interval=PATIENCE) as here:
        allocation = here.take()
        use = here.watch.cards.begin(allocation.gpus)
        nvml.runs("GPU-l4", 99, 8 * GIB)
        await here.watch.cards.next_look()
        assert here.why == {}
        here.watch.cards.end(use)
        here.ledger.release(allocation)
        assert here.free == []
        assert here.why == {"GPU-l4": Kind.RETURNING}
        await here.watch.cards.next_look()
        assert here.free == []
        nvml.ends("GPU-l4", 99)
        await seen(lambda: here.free == ["GPU-l4"])
    assert here.reports == []


async def test_cards_on_which_nothing_ran_are_free_at_once(nvml: Nvml) -> None:
    """Room that is taken and given back for a message costs no time."""
    async with scene(nvml, L4, interval=PATIENCE) as here:
        here.ledger.release(here.take())
        assert here.free == ["GPU-l4"]


async def test_a_card_that_others_still_share_stays_with_them(nvml: Nvml) -> None:
    """Its memory is theirs; only the last one's end is waited for."""
    shared = Needs(cores=1, gpu_count=1, gpu_memory=Bytes(8 * GIB), gpu_slots=1, gpu_group="q")
    async with scene(nvml, L4, interval=PATIENCE) as here:
        first, second = here.take(shared), here.take(shared)
        for one in (first, second):
            here.watch.cards.begin(one.gpus)
        nvml.runs("GPU-l4", 7, GIB)
        here.ledger.release(first)
        assert here.why == {}
        here.ledger.release(second)
        assert here.why == {"GPU-l4": Kind.RETURNING}


# ------------------------------------------------------------------ what befell a run


async def test_what_befalls_the_cards_of_a_run_is_told_apart(nvml: Nvml) -> None:
    """By card, by blame, and by when: what was before it, or on another card, is not its own."""
    async with scene(nvml, L4, T4, interval=PATIENCE) as here:
        cards = here.watch.cards
        nvml.xid("GPU-l4", 45)
        await cards.next_look()
        use, other = cards.begin(("GPU-l4",)), cards.begin(("GPU-t4",))
        for xid in (31, 31, 48):
            nvml.xid("GPU-l4", xid)
        nvml.change("GPU-l4", ecc=1)
        await cards.next_look()
        signs = cards.signs(use)
        assert [note.partition(",")[0] for note in signs.notes] == ["the driver reports Xid 31"]
        assert "48, two bits of its memory were wrong" in signs.faults[0]
        assert signs.faults[1] == "memory errors of GPU-l4 could not be corrected: 1"
        assert not signs.is_lost
        assert cards.signs(other).faults == cards.signs(other).notes == ()
        nvml.lose("GPU-t4")
        await cards.next_look()
        assert cards.signs(other).is_lost
        assert "GPU is lost" in cards.signs(other).faults[0]
