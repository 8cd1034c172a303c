"""Has the daemon listen where this machine's end is announced, if anywhere."""

from __future__ import annotations

import os

from anyio.abc import TaskGroup

from runner.lifecycle.loop import Loop
from runner.notices import SERVICES
from runner.notices.base import Service
from runner.notices.vendor import vendor
from runner.settings import Settings

_OFF, _AUTO = "off", "auto"


async def begin(settings: Settings, background: TaskGroup, loop: Loop) -> None:
    """Listen until ``background`` is cancelled; waits for nobody's answer."""
    name = settings.spot_notices
    is_named = name != _AUTO
    if not is_named:
        name = vendor()
    if name in {"", _OFF}:
        return
    # What asks is not loaded where there is nobody to ask.
    from runner.lifecycle.notice import Heeding  # noqa: PLC0415 - as the comment says

    has_gpus = bool(loop.parts.intake.ledger.total.gpus)
    service: Service = SERVICES.load(name)(os.environ, has_gpus=has_gpus)
    await background.start(Heeding(loop, service, is_named=is_named).heed)
