"""What the pages say of a daemon that is stuck, suspended or draining."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runner.app.listening import Pages
from runner.lifecycle.claiming.suspension import OPERATOR, Intent
from runner.lifecycle.desk import Desk
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.pulse import Organ, Pulse
from runner.lifecycle.reloading import Prospect
from runner.redaction import Secret
from runner.web.message import Request
from tests.acceptance.box import Box
from tests.lifecycle.machine import Machine

pytestmark = pytest.mark.anyio

GET = Request("GET", "/")


class Clock:
    """Seconds that pass when we say so."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class _Unreloadable:
    refusal = ""

    async def look(self) -> Prospect:
        return Prospect("not here")

    reload = look


@asynccontextmanager
async def pages(root: Path, clock: Clock) -> AsyncIterator[Pages]:
    """Give the pages of a machine that does nothing."""
    async with Machine.open(Box(root)) as machine:
        loop = Loop(replace(machine.parts, pulse=Pulse(clock)), machine.supply)
        desk = Desk(loop.parts, loop, detach=lambda: None, reloads=_Unreloadable())
        yield Pages(loop, desk, clock)


async def test_health_is_progress(tmp_path: Path) -> None:
    """A keeper that stands still is named; a beat mends it."""
    clock = Clock()
    async with pages(tmp_path, clock) as shown:
        assert (await shown.healthz(GET)).status == 200
        clock.now = 40.0
        shown.loop.parts.pulse.beat(Organ.MAIN_LOOP)
        sick = await shown.healthz(GET)
        assert (sick.status, sick.body) == (503, b"the keeper has made no progress for 40 s\n")
        shown.loop.parts.pulse.beat(Organ.KEEPER)
        assert (await shown.healthz(GET)).status == 200


async def test_readiness_is_claiming(tmp_path: Path) -> None:
    """Suspended and draining daemons say so, and stay healthy."""
    async with pages(tmp_path, Clock()) as shown:
        assert (await shown.readyz(GET)).body == b"ready\n"
        suspension = shown.loop.parts.intake.suspension
        suspension.wish(OPERATOR, Intent.SUSPEND)
        unready = await shown.readyz(GET)
        assert unready.status == 503
        assert b"suspended by the operator" in unready.body
        suspension.wish(OPERATOR, Intent.RUNNING)
        assert (await shown.readyz(GET)).status == 200
        shown.loop.drain()
        assert (await shown.readyz(GET)).body == b"draining: 0 under way\n"
        assert (await shown.healthz(GET)).status == 200


async def test_metrics_are_put_together_once_a_second(tmp_path: Path) -> None:
    """Who asks more often gets the same page; another form is another page."""
    clock = Clock()
    async with pages(tmp_path, clock) as shown:
        first = await shown.metrics(GET)
        assert await shown.metrics(GET) is first
        other = Request("GET", "/", {"accept": "application/openmetrics-text;version=1.0.0"})
        assert (await shown.metrics(other)).content_type != first.content_type
        clock.now = 1.5
        second = await shown.metrics(GET)
        assert second is not first
        assert b"runner_claiming 1.0" in second.body


async def test_a_secret_in_the_status_is_masked(tmp_path: Path) -> None:
    """Whatever field it stands in."""
    async with pages(tmp_path, Clock()) as shown:
        for source in shown.loop.supply:
            source.trouble = 'it says "hunter-two-three"'
        shown.loop.parts.redactor.add(Secret('"hunter-two-three"'))
        status = json.loads((await shown.status(GET)).body)
        assert status["version"] == 1
        assert [one["trouble"] for one in status["daemon"]["sources"]] == ["it says ***"]
