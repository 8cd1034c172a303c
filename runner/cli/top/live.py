"""The view while it is open: asks the daemon, heeds keys and signals, and draws."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from runner.cli.daemon import ask_once, control_socket, state_on_disk
from runner.cli.top.frame import frame
from runner.cli.top.keys import REDRAW, Keys
from runner.cli.top.output import KEPT, Output
from runner.cli.top.state import State, Verb, Wish
from runner.cli.top.terminal import Terminal
from runner.control.client import NoDaemon, ask
from runner.errors import RunnerError
from runner.settings import Settings

#: Brokers charge for every question: how much waits may be so old.
DEPTHS_AGE = 10.0
_PATIENCE = 10.0
#: Within this a terminal has sent the rest of what a key sends.
_REST_OF_A_KEY = 0.05
#: Clocks go on, also while nothing else happens.
_DRAW_EVERY = 1.0
#: An output may grow faster than anybody reads.
_DRAW_PAUSE = 0.05
#: Bytes of an output that are fetched at most before what is added to it.
_MOST = 8 << 20
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SIGNALLED = 128


async def look(settings: Settings, state: State) -> None:
    """Learn what the daemon says, or what the last one has left."""
    try:
        with anyio.fail_after(_PATIENCE):
            state.learn(await ask_once(settings, "status", age=DEPTHS_AGE))
    except NoDaemon as error:
        state.learn(state_on_disk(settings), str(error))
    except TimeoutError:
        state.learn(state.found, f"the daemon has not answered for {_PATIENCE:.0f} s")
    except (RunnerError, OSError) as error:
        state.learn(state.found, str(error))


@dataclass(eq=False)
class View:
    """One open view."""

    settings: Settings
    terminal: Terminal
    #: Seconds between two looks.
    interval: float
    state: State = field(default_factory=State)
    _status: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _asked: anyio.Event = field(default_factory=anyio.Event)
    _following: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def run(self) -> int:
        """Show it until somebody wants to leave; return the exit status."""
        heeded = (*_ENDS, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
        with anyio.open_signal_receiver(*heeded) as signals, self.terminal.taken():
            async with anyio.create_task_group() as group:
                group.start_soon(self._heed, signals, group.cancel_scope)
                group.start_soon(self._look_on)
                group.start_soon(self._read, group)
                group.start_soon(self._draw_on, group.cancel_scope)
        return self._status

    # ------------------------------------------------------------------ what comes from outside

    async def _heed(
        self, signals: AsyncIterator[signal.Signals], everything: anyio.CancelScope
    ) -> None:
        async for number in signals:
            if number in _ENDS:
                self._end(everything, _SIGNALLED + number)
            elif number == signal.SIGTSTP:
                self.terminal.pause()
                self._asked.set()
            elif number == signal.SIGCONT:  # also of a stop that nobody told us of
                self.terminal.take()
            self._redraw()

    async def _look_on(self) -> None:
        while True:
            self._asked = anyio.Event()
            await look(self.settings, self.state)
            self._redraw()
            with anyio.move_on_after(self.interval):
                await self._asked.wait()

    async def _read(self, group: TaskGroup) -> None:
        keys = Keys()
        while data := await self.terminal.keys():
            found = keys.feed(data)
            while keys.is_amid:
                more = b""
                with anyio.move_on_after(_REST_OF_A_KEY):
                    more = await self.terminal.keys()
                # Nothing came, or nothing can come any more.
                found += keys.feed(more) if more else keys.rest()
            for key in found:
                self._press(key, group)
            self._redraw()
        self._end(group.cancel_scope, 1)

    async def _draw_on(self, everything: anyio.CancelScope) -> None:
        while True:
            self._changed = anyio.Event()
            width, height = self.terminal.size
            try:
                self.terminal.draw(frame(self.state, time.time(), width, height))
            except OSError:  # nobody is there any more
                self._end(everything, 1)
            await anyio.sleep(_DRAW_PAUSE)
            with anyio.move_on_after(_DRAW_EVERY):
                await self._changed.wait()

    # ------------------------------------------------------------------ what is wanted

    def _press(self, key: str, group: TaskGroup) -> None:
        if key == REDRAW:
            self.terminal.forget()
            return
        wish = self.state.press(key, page=max(1, self.terminal.size[1] - 5))
        if wish is None:
            return
        if wish.verb is Verb.QUIT:
            self._end(group.cancel_scope, 0)
        elif wish.verb is Verb.LEAVE:
            self._following.cancel()
        elif wish.verb is Verb.FOLLOW:
            self._following.cancel()
            self._following = anyio.CancelScope()
            group.start_soon(self._follow, self.state.output, self._following)
        else:
            group.start_soon(self._ask, wish)

    async def _ask(self, wish: Wish) -> None:
        arguments = {"key": wish.key, "run": wish.run} if wish.verb is Verb.CANCEL else {}
        try:
            answer = await ask_once(self.settings, wish.verb, **arguments)
            self.state.notice = _told(wish, answer)
        except (RunnerError, OSError) as error:
            self.state.notice = str(error)
        self._asked.set()
        self._redraw()

    async def _follow(self, output: Output, scope: anyio.CancelScope) -> None:
        """Follow an output to its end, also over the daemon's going and coming back."""
        with scope:
            while True:
                try:
                    if await self._stream(output):
                        return
                except (RunnerError, OSError) as error:
                    output.said = str(error)
                self._redraw()
                await anyio.sleep(self.interval)

    async def _stream(self, output: Output) -> bool:
        """Take what there is; whether it is complete, as nothing more of it runs here."""
        is_begun = False
        which = {"key": output.key, "run": output.run, "tail": KEPT, "most": _MOST}
        async for item in ask(control_socket(self.settings), "logs", follow=True, **which):
            if not is_begun:
                output.begin()
                is_begun, output.said = True, "live"
            if "fetched" in item:
                output.said = f"{item['fetched']} of {item['of']} bytes fetched"
            elif "text" in item:
                output.said = "live"
                output.add(str(item["text"]))
            self._redraw()
        # A daemon that has only just started may not have taken it up yet.
        is_known = any(one.get("run") == output.run for one in self.state.runs)
        output.said = "ended; Esc goes back" if is_begun else "it does not run here any more"
        self._redraw()
        return is_begun or not is_known

    def _end(self, everything: anyio.CancelScope, status: int) -> None:
        self._status = status
        everything.cancel()

    def _redraw(self) -> None:
        self._changed.set()


def _told(wish: Wish, answer: dict[str, Any]) -> str:
    """Say what came of a wish."""
    if wish.verb is Verb.CANCEL:
        done = "cancelled" if answer.get("cancelled") else "not cancelled"
        return f"{wish.key}: {answer.get('reason') or done}"
    if wish.verb is Verb.DRAIN:
        return f"draining: {answer.get('running')} under way"
    if others := " and by ".join(map(str, answer.get("suspended_by") or ())):
        return f"suspended by {others}"
    return "resumed: experiments are claimed"
