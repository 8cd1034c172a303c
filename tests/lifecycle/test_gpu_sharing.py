"""Experiments of one queue, or of one project, compute on one card at a time: real runs."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.lifecycle.gpus.choice import Sharing, grouped
from runner.model import Bytes, Capacity, Gpu, Needs
from tests.acceptance.box import Box
from tests.lifecycle.machine import PATIENCE, Machine, seen

CARD = Gpu("GPU-1", "NVIDIA A100-SXM4-40GB", Bytes(40 << 30), 24)
TOTAL = Capacity(4, Bytes(1 << 40), Bytes(1 << 40), (CARD,))
#: Waits until the other one runs as well.
MEET = """
import os, pathlib, time
place = pathlib.Path({place!r})
(place / {name!r}).write_text(os.environ['CUDA_VISIBLE_DEVICES'])
while len(list(place.iterdir())) < 2:
    time.sleep(0.01)
"""


def needs(memory: str) -> dict[str, object]:
    """Return what one experiment asks for."""
    return {"cpus": 1, "gpus": 2, "gpuMem": memory, "ram": "64m", "hdd": "64m"}


@pytest.mark.anyio
@pytest.mark.parametrize("sharing", [Sharing.QUEUE, Sharing.PROJECT])
async def test_two_experiments_share_a_card(tmp_path: Path, sharing: Sharing) -> None:
    """Each waits for the other on the same card; then it is whole again."""
    box, place = Box(tmp_path), tmp_path / "meeting"
    place.mkdir()
    async with Machine.open(box, total=TOTAL, gpu_sharing=sharing) as machine:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for name in ("a", "b"):
                    script = MEET.format(place=str(place), name=name)
                    message = box.message(script, resources_needed=needs("10gb"))
                    group.start_soon(machine.handle, message)
                await seen(lambda: len(list(place.iterdir())) == len("ab"))
        assert machine.ends == ["completed", "completed"]
        assert {file.read_text() for file in place.iterdir()} == {"GPU-1"}
        await machine.check_clean()


@pytest.mark.anyio
async def test_without_the_option_a_card_is_nobody_elses(tmp_path: Path) -> None:
    """Whatever the experiment asks for."""
    box = Box(tmp_path)
    async with Machine.open(box, total=TOTAL) as machine:
        handling, _ = await machine.handling(box.message("print(1)", resources_needed=needs("1gb")))
        await handling.perform(await machine.parts.intake.slot())
        assert handling.request is not None
        assert handling.request.needs.gpu_group == ""
        await machine.check_clean()


CARDS = Needs(gpu_count=1, gpu_memory=Bytes(1))


def test_the_group_is_the_queue_or_the_project() -> None:
    """One without a project is in the group of its queue; one without a card is in none."""
    where = {"queue": "local//q", "project": "p"}
    assert grouped(CARDS, Sharing.OFF, **where).gpu_group == ""
    assert grouped(CARDS, Sharing.QUEUE, **where).gpu_group == "local//q"
    assert grouped(CARDS, Sharing.PROJECT, **where).gpu_group == "p"
    assert grouped(CARDS, Sharing.PROJECT, queue="q", project="").gpu_group == "q"
    assert grouped(Needs(), Sharing.QUEUE, **where) == Needs()


@given(st.text(min_size=1), st.text())
def test_sharing_is_never_by_accident(queue: str, project: str) -> None:
    """Switched off there is no group, whatever a message names."""
    assert not grouped(CARDS, Sharing.OFF, queue=queue, project=project).shares_cards
    assert grouped(CARDS, Sharing.PROJECT, queue=queue, project=project).shares_cards
