"""Whether a card is given out, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.gpus import xids as gpu_xids
from runner.lifecycle.gpus.health import (
    LONGEST,
    RETURN,
    Kind,
    Past,
    Withheld,
    judge,
    silence,
)
from runner.lifecycle.gpus.xids import XIDS, Blame
from runner.model import Bytes, Gpu
from runner.resources.base import GpuInventory, GpuProcess, GpuReading

CARD = Gpu("GPU-1", "NVIDIA L4", Bytes(24 << 30))
PART = Gpu("MIG-1", "NVIDIA A100 MIG 1g.5gb", Bytes(5 << 30), parent="GPU-1")
NOISE = Bytes(512 << 20)
CLEAN = GpuReading()
FOREIGN = GpuReading(used=Bytes(1 << 30), processes=(GpuProcess(7, Bytes(1 << 30)),))
MINUTE = 60.0
UNSEEN = Past()

readings = st.builds(
    GpuReading,
    used=st.integers(0, 2 << 30).map(Bytes),
    ecc_errors=st.integers(0, 1),
    repair_pending=st.booleans(),
    xids=st.lists(st.sampled_from([*XIDS, 999]), max_size=2).map(tuple),
    lost=st.sampled_from(["", "GPU is lost"]),
)


def seen(
    reading: GpuReading,
    past: Past = UNSEEN,
    *,
    card: Gpu = CARD,
    held: bool = False,
    now: float = 0.0,
) -> tuple[Past, Withheld | None]:
    """Judge with the usual noise."""
    return judge(card, reading, past, held=held, noise=NOISE, now=now)


@pytest.mark.parametrize(
    ("reading", "kind", "said"),
    [
        (GpuReading(lost="GPU is lost"), Kind.LOST, "GPU is lost"),
        (GpuReading(repair_pending=True), Kind.REPAIR, "reset the card"),
        (GpuReading(repair_failed=True), Kind.REPAIR, "exchange the card"),
        (GpuReading(ecc_errors=1), Kind.ECC, "had an error that"),
        (GpuReading(ecc_errors=2), Kind.ECC, "had 2 errors that"),
        (GpuReading(xids=(79,)), Kind.XID, "Xid 79, it has fallen off the bus"),
        (FOREIGN, Kind.FOREIGN, "1.1 GB of its memory are in use"),
    ],
    ids=str,
)
def test_a_bad_card_is_withheld_with_its_reason(reading: GpuReading, kind: Kind, said: str) -> None:
    """Each reason has its word, and a sentence for a person."""
    _, withheld = seen(reading)
    assert withheld is not None
    assert withheld.kind is kind
    assert said in withheld.why


@pytest.mark.parametrize(
    "reading",
    [
        CLEAN,
        GpuReading(used=NOISE),
        GpuReading(used=Bytes(3 << 30), processes=(GpuProcess(7, Bytes(3 << 30), draws=True),)),
        GpuReading(utilization=1.0, temperature=90, power=300.0),
        *(GpuReading(xids=(xid,)) for xid in (13, 31, 43, 45, 68, 109, 63, 92, 999)),
    ],
    ids=str,
)
def test_a_good_card_is_given_out(reading: GpuReading) -> None:
    """Little memory, a desktop, heat, and what an experiment did wrong, are no reasons."""
    assert seen(reading)[1] is None


def test_memory_of_a_held_card_is_its_holders() -> None:
    """Whose it is says the ledger: processes are the host's where a container asks."""
    assert seen(FOREIGN, held=True)[1] is None
    assert seen(replace(FOREIGN, processes=()))[1] is not None


def test_a_part_is_judged_by_its_own_memory() -> None:
    """The processes that it names are those of the whole card."""
    desktop = GpuProcess(7, Bytes(4 << 30), draws=True)
    used = GpuReading(used=Bytes(4 << 30), processes=(desktop,))
    withheld = seen(used, card=PART)[1]
    assert withheld is not None
    assert withheld.kind is Kind.FOREIGN


def test_reasons_end_with_what_they_are_about() -> None:
    """A mended card is given out at the next look."""
    for reading in (GpuReading(lost="away"), GpuReading(ecc_errors=3), FOREIGN):
        past, withheld = seen(reading)
        assert withheld is not None
        assert seen(CLEAN, past, now=1.0)[1] is None


# ------------------------------------------------------------------ Xids


@pytest.mark.parametrize("xid", [x for x in XIDS if gpu_xids.blame(x) is Blame.CARD])
def test_a_hardware_xid_keeps_a_card_back_for_its_time(xid: int) -> None:
    """Not for ever: a card that shows no fault for that long is tried again."""
    wait = gpu_xids.kept_back(xid).total_seconds()
    past, _ = seen(GpuReading(xids=(xid,)))
    assert seen(CLEAN, past, now=wait - 1)[1] is not None
    assert seen(CLEAN, past, now=wait + 1)[1] is None


def test_the_time_counts_from_the_last_fault() -> None:
    """A card that is gone is kept back after its return."""
    past, _ = seen(GpuReading(xids=(79,)))
    past, withheld = seen(GpuReading(lost="off the bus"), past, now=1000 * MINUTE)
    assert withheld is not None
    assert withheld.kind is Kind.LOST
    past, withheld = seen(CLEAN, past, now=1000.5 * MINUTE)
    assert withheld is not None
    assert withheld.kind is Kind.XID
    assert seen(CLEAN, past, now=1001 * MINUTE)[1] is None


def test_a_card_that_fails_again_is_kept_back_for_longer() -> None:
    """Twice as long each time, a day at most; a day of health forgives."""
    past, now, waits = Past(), 0.0, []
    for _ in range(12):
        past, _ = seen(GpuReading(xids=(119,)), past, now=now)
        waits.append(past.until - now)
        now = past.until
        past, withheld = seen(CLEAN, past, now=now)
        assert withheld is None
    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits[-1] == LONGEST
    past, _ = seen(GpuReading(xids=(119,)), past, now=now + 2 * LONGEST)
    assert past.until == now + 2 * LONGEST + 10 * MINUTE


def test_faults_that_come_together_are_one() -> None:
    """A second Xid while a card is kept back begins its time anew, and does not double it."""
    past, _ = seen(GpuReading(xids=(119, 119, 45)))
    past, _ = seen(GpuReading(xids=(120,)), past, now=MINUTE)
    assert (past.xid, past.times, past.until) == (120, 1, 11 * MINUTE)


def test_every_xid_has_a_meaning() -> None:
    """Those that blame a card say for how long; application Xids blame no card."""
    assert all(one.meaning for one in XIDS.values())
    assert all((one.blame is Blame.CARD) == bool(one.kept_back) for one in XIDS.values())
    assert {x for x in XIDS if gpu_xids.blame(x) is Blame.EXPERIMENT} == {13, 31, 43, 45, 68, 109}
    assert gpu_xids.described(12345) == "Xid 12345, which this runner does not know"


# ------------------------------------------------------------------ after a run


def test_a_card_waits_for_the_memory_of_its_last_run() -> None:
    """It is not given out before a look that began after the end of the run saw it free."""
    past = Past().left(10.0)
    for reading, now in ((CLEAN, 9.9), (FOREIGN, 10.1), (GpuReading(used=Bytes(1 << 30)), 11.0)):
        past, withheld = seen(reading, past, now=now)
        assert withheld is not None
        assert withheld.kind is Kind.RETURNING
    assert seen(CLEAN, past, now=12.0)[1] is None


def test_a_card_waits_for_the_processes_of_its_last_run() -> None:
    """Those that were there before it are no reason to wait."""
    before, after = GpuProcess(1, Bytes(1 << 20)), GpuProcess(2, Bytes(1 << 20))
    past, _ = seen(GpuReading(processes=(before,)))
    past, _ = seen(GpuReading(processes=(before, after)), past, held=True)
    past = past.left(5.0)
    past, withheld = seen(GpuReading(processes=(before, after)), past, now=6.0)
    assert withheld is not None
    assert seen(GpuReading(processes=(before,)), past, now=7.0)[1] is None


def test_memory_that_never_comes_back_is_in_foreign_use() -> None:
    """After a while it is called by its name, so that somebody looks."""
    past = Past().left(0.0)
    past, withheld = seen(FOREIGN, past, now=RETURN + 1)
    assert withheld is not None
    assert withheld.kind is Kind.FOREIGN


def test_a_driver_that_does_not_answer_is_told_from_a_lost_card() -> None:
    """All cards at once is the driver, whether it says so or nothing."""
    lost = GpuReading(lost="not loaded")
    two = (CARD, replace(CARD, uuid="GPU-2"))
    for inventory in (
        GpuInventory(why_none="the driver gave no answer in 30 s"),
        GpuInventory(two, readings={"GPU-1": lost, "GPU-2": lost}),
    ):
        dead = silence(inventory)
        assert dead is not None
        assert dead.kind is Kind.DRIVER
    others = GpuReading(lost="GPU is lost")
    for readings_ in ({"GPU-1": lost, "GPU-2": CLEAN}, {"GPU-1": lost, "GPU-2": others}):
        assert silence(GpuInventory(two, readings=readings_)) is None
    parts = (PART, replace(PART, uuid="MIG-2"))
    assert silence(GpuInventory(parts, readings={"MIG-1": lost, "MIG-2": lost})) is None


@given(st.lists(st.tuples(readings, st.booleans(), st.floats(0, 1e6)), max_size=20))
def test_no_card_is_kept_for_ever(story: list[tuple[GpuReading, bool, float]]) -> None:
    """Whatever befell it, one that is healthy for a day is given out; one in order is so at once.

    And whatever befell it, one that is broken now is not.
    """
    past, now = Past(), 0.0
    for reading, held, pause in story:
        now += pause
        past, withheld = seen(reading, past, held=held, now=now)
        is_bad = bool(reading.lost or reading.ecc_errors or reading.repair_pending)
        assert not is_bad or withheld is not None
    past, _ = seen(CLEAN, past, now=now)
    assert seen(CLEAN, past, now=now + LONGEST + 1)[1] is None
