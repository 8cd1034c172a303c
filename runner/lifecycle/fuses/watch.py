"""Acts on the host fuse: nothing is claimed while it has blown, people know, probes are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from runner.lifecycle.claiming.suspension import Intent
from runner.lifecycle.parts import Parts
from runner.model import News, Report

#: Whose wish it is that nothing is claimed.
WHO = "the host fuse"
_TOPIC = "fuse"


@dataclass(eq=False)
class FuseWatch:
    """Between the fuse, the machine and the people who look after it."""

    parts: Parts
    #: Makes a probe experiment; returns what it lacked, or nothing.
    probe: Callable[[], Awaitable[str]]
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.parts.fuse.listeners.append(self._tell)

    async def watch(self) -> None:
        """Act until cancelled."""
        while True:
            changed = self._changed
            if self.parts.fuse.is_blown:
                await self._see_it_mended()
            else:
                await changed.wait()

    async def _see_it_mended(self) -> None:
        fuse, suspension = self.parts.fuse, self.parts.intake.suspension
        suspension.wish(WHO, Intent.SUSPEND)
        while fuse.is_blown:
            await self._say(News.FUSE_BLOWN, f"nothing is claimed: {fuse.said}")
            await self._until_due()
            fuse.probed(await self.probe())
        suspension.wish(WHO, Intent.RUNNING)
        await self._say(News.RECOVERED, "a probe experiment has passed: claiming again")

    async def _until_due(self) -> None:
        while seconds := self.parts.fuse.seconds_to_probe:
            changed = self._changed
            with anyio.move_on_after(seconds):
                await changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _say(self, news: News, text: str) -> None:
        said = self.parts.redactor.redact(text)
        await self.parts.report(Report(news, said, topic=_TOPIC))
