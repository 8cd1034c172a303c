"""The web listener: what its pages say, and where it listens."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup, TaskStatus

from runner import blocking, log
from runner.app.status_page import StatusPage
from runner.lifecycle.chore import Chore
from runner.lifecycle.desk import Desk
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.pulse import Organ, Pulse, beat_on
from runner.lifecycle.sources.depths import Depth
from runner.lifecycle.tally import Tally
from runner.settings import Settings
from runner.web.guard import names_of
from runner.web.listener import Listener
from runner.web.message import Answer, Request, document, sentence
from runner.web.site import Page, Site

if TYPE_CHECKING:
    from runner.reporters.metrics import Exposition

_log = log.get_logger(__name__)

#: Of ``/status.json``; a field that is added changes nothing, one that goes or changes does.
STATUS_VERSION = 1
_LOADING = blocking.Limit(1)
#: Brokers charge for every question.
_DEPTHS_AGE, _STATUS_AGE = timedelta(seconds=30), timedelta(seconds=10)
#: Who scrapes more often gets the same numbers again.
_PAGE_SECONDS = 1.0
_MOST_FORMS = 4


def counting(background: TaskGroup, lost: Callable[[], str]) -> tuple[Pulse, Tally]:
    """Return what the daemon's progress and work are counted with, and begin to count.

    ``lost`` says of what a restart is the only remedy, however well all goes on.
    """
    tally = Tally()
    pulse = Pulse(late=tally.lag.add, lost=lost)
    beating = partial(beat_on, pulse, Organ.MAIN_LOOP)
    background.start_soon(Chore("counting the beats of the main loop", beating).keep)
    return pulse, tally


async def begin(settings: Settings, background: TaskGroup, loop: Loop, desk: Desk) -> None:
    """Listen until ``background`` is cancelled. Raises Misconfigured, as where a port is taken."""
    if settings.listen is not None:
        page = StatusPage(loop.parts, desk)
        background.start_soon(Chore("tidying the status page", page.tidy).keep)
        await background.start(_serve, settings, Pages(loop, desk, further=page.pages))


async def _serve(settings: Settings, pages: Pages, *, task_status: TaskStatus[None]) -> None:
    assert settings.listen is not None  # noqa: S101 - asked before
    listener = Listener(
        pages.site,
        token=settings.web_token,
        hosts=names_of(socket.gethostname(), settings.web_hosts),
    )
    await listener.open(settings.listen.host, settings.listen.port)
    async with listener:
        for address in listener.addresses:
            _log.info("listening for monitoring", url=f"http://{address}")
        if not listener.is_local and not settings.web_token:
            _log.warning(
                "the listener can be reached from other machines: it shows health and metrics "
                "alone, until --web-token-file is given"
            )
        task_status.started()
        await Chore("answering the web listener's clients", listener.serve).keep()


@dataclass(eq=False)
class Pages:
    """What is shown of one daemon."""

    loop: Loop
    desk: Desk
    clock: Callable[[], float] = time.monotonic
    #: Those of the status page.
    further: Mapping[str, Page] = field(default_factory=dict)
    _depths: tuple[Depth, ...] = ()
    #: What renders metrics, once somebody wanted some.
    _exposition: Exposition | None = None
    #: By type of content: the page, and when it was made.
    _made: dict[str, tuple[float, Answer]] = field(default_factory=dict)
    _rendering: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def site(self) -> Site:
        """Return all pages."""
        return Site(
            {
                **self.further,
                "/healthz": Page(self.healthz, is_open=True),
                "/readyz": Page(self.readyz, is_open=True),
                "/metrics": Page(self.metrics, is_open=True),
                "/status.json": Page(self.status),
            }
        )

    async def healthz(self, _: Request) -> Answer:
        """Say whether the main loop and the keeper make progress."""
        trouble = self.loop.parts.pulse.trouble()
        return sentence(503, trouble) if trouble else sentence(200, "ok")

    async def readyz(self, _: Request) -> Answer:
        """Say whether experiments are being claimed, or would be if there were room."""
        parts = self.loop.parts
        if self.loop.is_draining:
            return sentence(503, f"draining: {len(parts.board)} under way")
        if said := parts.intake.suspension.said:
            return sentence(503, said)
        if trouble := parts.pulse.trouble():
            return sentence(503, trouble)
        waits = parts.intake.complaint
        return sentence(200, f"ready; nothing is claimed now: {waits}" if waits else "ready")

    async def metrics(self, request: Request) -> Answer:
        """Give the metrics in the form that is asked for."""
        accept = request.header("accept")
        async with self._rendering:
            made_at, made = self._made.get(accept, (float("-inf"), None))
            if made is not None and self.clock() - made_at < _PAGE_SECONDS:
                return made
            self._depths = await self.desk.depths.look(_DEPTHS_AGE)
            if self._exposition is None:
                self._exposition = await self._loaded()
            body, content_type = self._exposition.page(accept)
            answer = Answer(200, body, content_type)
            if len(self._made) >= _MOST_FORMS:
                self._made.clear()
            self._made[accept] = self.clock(), answer
            return answer

    async def _loaded(self) -> Exposition:
        """Import the Prometheus client, which takes longer than the loop may stand still."""

        def load(_: blocking.Stop) -> Exposition:
            from runner.app.figures import readings  # noqa: PLC0415 - as the function says
            from runner.reporters.metrics import Exposition  # noqa: PLC0415 - likewise

            return Exposition(lambda: readings(self.loop.parts, self.loop, self._depths))

        return await blocking.call(load, limit=_LOADING)

    async def status(self, request: Request) -> Answer:
        """Give what the verb ``status`` of the control socket gives, redacted.

        ``?recent=N``: no more of what ended than the last ``N``.
        """
        standing = await self.desk.standing(_STATUS_AGE)
        if (most := request.asked("recent")).isdecimal():
            standing["recent"] = standing["recent"][-int(most[:9]) :] if int(most[:9]) else []
        shown = self.loop.parts.redactor.redact_all(standing)
        return document({"version": STATUS_VERSION, **shown})
