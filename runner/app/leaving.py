"""How the daemon leaves its runs to the next one, or to itself executed anew (design 5.8)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from runner import log
from runner.app import notify
from runner.app.notify import Notify
from runner.app.reexec import Reexec
from runner.app.rehearsal import rehearse
from runner.lifecycle.loop import Loop
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.reloading import Prospect
from runner.settings import Settings
from runner.settings.changes import Change, obstacle

_log = log.get_logger(__name__)

#: Seconds from the wish to the end of the process, whatever is under way.
_LONGEST = 1.8
#: The same for a reload: nobody waits for the machine.
_LONGEST_RELOAD = 10.0
_LAST_RENEWAL = 1.0
#: What is open longer brings its message again, after the receive's short visibility.
_OPEN_RECEIVES = 25.0


def _end_at_once() -> None:
    _log.warning("left without waiting for what hangs")
    os._exit(0)


@dataclass(eq=False)
class Leaving:
    """The two ways out that leave every run alone."""

    loop: Loop
    #: Cancelled to leave.
    serving: anyio.CancelScope
    reexec: Reexec
    notify: Notify
    #: What this daemon goes by.
    settings: Settings
    #: Why the last reload that was asked for was refused: the options of before count. Empty: it
    #: was not, or it was mended.
    refusal: str = ""
    _is_reloading: bool = False

    def detach(self) -> None:
        """End within two seconds."""
        begin_to_leave(self.serving)

    async def look(self) -> Prospect:
        """Say what a reload would bring, or why there can be none; nothing is done."""
        rehearsed = await rehearse(os.environ)
        redact = self.loop.parts.redactor.redact
        found = rehearsed.changes(self.settings, redact)
        reason = rehearsed.reason or obstacle(found, len(self.loop.parts.board))
        return Prospect(redact(reason), tuple(_told(one, redact) for one in found))

    async def reload(self) -> Prospect:
        """Make sure that the next daemon would start, and leave to it; or return why not."""
        if self.loop.is_draining:
            return _refused("the daemon is draining: start it again when it has ended")
        if self._is_reloading:
            return _refused("it is being reloaded already")
        self._is_reloading = True
        self.notify.say(*notify.reloading())
        prospect = Prospect("it was given up")
        try:
            prospect = await self.look()
        finally:
            self.refusal = prospect.reason
            if prospect.reason:
                self._stay(f"not reloaded: {prospect.reason}")
        if not prospect.reason:
            for one in prospect.changes:
                facts = {name: text for name, text in one.items() if name != "sentence"}
                _log.info("an option changes", **facts)
            self.loop.parts.background(self._leave)
        return prospect

    async def heed_reload(self) -> None:
        """Reload for somebody who waits for no answer."""
        await self.reload()

    async def _leave(self) -> None:
        _log.info("reloading", running=len(self.loop.parts.board))
        with anyio.move_on_after(_OPEN_RECEIVES):
            await self.loop.receive_no_more()
        if self.loop.is_draining:
            self._stay("not reloaded: the daemon is draining")
            return
        # The next daemon needs a while until its own first sign of life.
        self.reexec.last_words = lambda: self.notify.say(notify.ALIVE)
        self.reexec.want()
        begin_to_leave(self.serving, _LONGEST_RELOAD, self.reexec.execute)

    def _stay(self, why: str) -> None:
        _log.error(why)
        self._is_reloading = False
        self.notify.say(notify.READY, notify.status(why))


def _refused(reason: str) -> Prospect:
    _log.warning("not reloaded", why=reason)
    return Prospect(reason)


def _told(one: Change, redact: Callable[[str], str]) -> dict[str, str]:
    return {
        "option": one.name,
        "before": redact(one.before),
        "after": redact(one.after),
        "origin": redact(one.origin),
        "sentence": redact(str(one)),
    }


def begin_to_leave(
    serving: anyio.CancelScope,
    longest: float = _LONGEST,
    at_the_latest: Callable[[], None] = _end_at_once,
) -> None:
    """Cancel all work. What hangs then, in a dead file system say, is left as by a kill.

    A kill loses nothing: that is what the records on disk are for.
    """
    timer = threading.Timer(longest, at_the_latest)
    timer.daemon = True
    timer.start()
    serving.cancel()


async def leave(keeper: Keeper) -> None:
    """Renew every lease a last time: the next daemon has all of it to come."""
    with anyio.move_on_after(_LAST_RENEWAL, shield=True):
        await keeper.renew_all()
