"""Follows the queues of every source and pulls each once, whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Protocol
from urllib.parse import unquote

import anyio
from anyio.abc import TaskGroup

from runner import log
from runner.errors import QueueUnavailable, RunnerError
from runner.lifecycle.chore import Chore
from runner.lifecycle.parts import Parts
from runner.lifecycle.sources.accounts import Account
from runner.lifecycle.sources.aside import Aside
from runner.lifecycle.sources.pauses import Pauses
from runner.lifecycle.sources.roster import Roster
from runner.lifecycle.sources.source import Source
from runner.lifecycle.sources.statements import left_behind, queue_set
from runner.lifecycle.sources.supply import Supply
from runner.lifecycle.sources.tap import Tap
from runner.lifecycle.sources.vanishing import APART, Vanishing
from runner.model import News, Report
from runner.queues.base import Broker, Queue
from runner.queues.credential import Credential

_log = log.get_logger(__name__)

#: Seconds after which a broker in trouble is believed to work again.
_STEADY = 10.0
_NEVER = float("inf")


class Pulls(Protocol):
    """What takes messages from one queue: ``pulling.Puller``."""

    async def pull(self) -> None:
        """Take until cancelled; an end by itself means that the queue is set aside."""


@dataclass(eq=False)
class _Pulling:
    """One queue being pulled, through one of the sources that show it."""

    account: Account
    tap: Tap
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


@dataclass(eq=False)
class _Following:
    """What one source lists."""

    source: Source
    broker: Broker
    credential: Credential
    #: By short name.
    taps: dict[str, Tap] = field(default_factory=dict)
    #: What was last said about queues that are left.
    said: str = ""
    #: Since when discovery has gone on without trouble.
    since: float = _NEVER

    @property
    def is_steady(self) -> bool:
        """What was listed just now and failed at once is no recovery."""
        return anyio.current_time() - self.since >= _STEADY

    @property
    def is_on(self) -> bool:
        """Nothing has come in between."""
        return self.source.is_serving and self.source.broker is self.broker


@dataclass(eq=False)
class Receiving:
    """Discovery and pullers; ``serve`` goes on until cancelled, ``shut`` lets nothing new in."""

    parts: Parts
    supply: Supply
    #: Makes what pulls a queue of an account.
    puller: Callable[[Source, Queue], Pulls]
    #: Between the first and the last definite no before a queue is believed to be deleted.
    apart: timedelta = APART
    _followed: dict[Account, _Following] = field(default_factory=dict)
    _roster: Roster[Account] = field(default_factory=Roster)
    _pulling: dict[str, _Pulling] = field(default_factory=dict)
    #: Queues that are somebody else's.
    aside: Aside = field(default_factory=Aside)
    _group: TaskGroup | None = None
    _is_shut: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues that are pulled, by address."""
        return {address: one.tap for address, one in self._pulling.items() if not one.tap.is_shut}

    async def serve(self) -> None:
        """Follow all sources."""
        async with anyio.create_task_group() as group:
            self._group = group
            while True:
                for source in self.supply:
                    if source.account not in self._followed:
                        self._begin_to_follow(source)
                await self.supply.change()

    def shut(self) -> None:
        """Receive nothing more; what is open ends by itself, and brings nothing."""
        self._is_shut = True
        self._assign()

    async def until_shut(self) -> None:
        """Wait until no receive is open any more."""
        while self._pulling:
            await self._changed.wait()

    # ------------------------------------------------------------------ one source

    def _begin_to_follow(self, source: Source) -> None:
        if source.broker is None or not source.is_serving:
            return
        following = _Following(source, source.broker, source.credential)
        self._followed[source.account] = following
        self._running().start_soon(self._follow, following)

    async def _follow(self, following: _Following) -> None:
        source = following.source
        vanishing = Vanishing(source, self.parts.board, lambda: following.taps, self.apart)
        async with anyio.create_task_group() as group:
            group.start_soon(self._discover, following)
            looking = partial(self._look_after, following, vanishing)
            group.start_soon(Chore(f"looking after {source.origin}", looking).keep)
            while following.is_on:
                self._heed_new_names(following)
                await self.supply.change()
            group.cancel_scope.cancel()
        for name in list(following.taps):
            self._withdraw(following, name)
        del self._followed[source.account]
        self._assign()
        self.supply.look_again()  # it may have been brought back meanwhile

    def _heed_new_names(self, following: _Following) -> None:
        """Take a queue that was set aside and that the credential names from now on."""
        credential = following.source.credential
        if credential is not following.credential:
            following.credential = credential
            for name, tap in following.taps.items():
                if names_queue(credential.queues, name):
                    self.aside.discard(tap.address)
            self._assign()

    async def _discover(self, following: _Following) -> None:
        source, pauses = following.source, Pauses()
        while True:
            error: Exception | None = None
            try:
                async with aclosing(following.broker.discover()) as sets:  # type: ignore[type-var]
                    async for names in sets:
                        self.parts.tally.listed[source.account[0]] += 1
                        following.since = min(following.since, anyio.current_time())
                        await self._adjust(following, names)
            except Exception as caught:  # noqa: BLE001 - one broker's trouble must stop no other
                error = caught
            if following.is_steady:
                pauses.over()
                source.works()
            following.since = _NEVER
            self.parts.tally.unlisted[source.account[0]] += 1
            trouble = await source.failed(error or QueueUnavailable("its list of queues has ended"))
            source.doubt()
            await source.pause(pauses.after(trouble))

    async def _look_after(self, following: _Following, vanishing: Vanishing) -> None:
        while True:
            await anyio.sleep(vanishing.pause)
            if following.is_steady:
                following.source.works()
            await vanishing.look()
            await self._say_what_is_left(following)

    async def _adjust(self, following: _Following, names: frozenset[str]) -> None:
        source = following.source
        before = frozenset(following.taps)
        for name in sorted(before - names):
            address = self._withdraw(following, name)
            if address not in self._roster.pulled:  # deleted: the next one of its name is another
                self.aside.discard(address)
        for name in sorted(names):
            source.suspicion(name).there()
        for name in sorted(names - before):
            await self._show(following, name)
        self._assign()
        if names != before:
            left = source.broker.left if source.broker else frozenset[str]()
            await self._say(queue_set(source.account[0], source.origin, names, before, left))
        await self._say_what_is_left(following)

    async def _show(self, following: _Following, name: str) -> None:
        try:
            tap = following.taps[name] = await following.source.tap(name)
        except RunnerError as error:  # of one queue that cannot be opened
            _log.warning("queue not opened", queue=name, trouble=str(error))
        else:
            self._roster.show(tap.address, following.source.account)

    def _withdraw(self, following: _Following, name: str) -> str:
        """Show a queue no more; return its address."""
        address = following.taps.pop(name).address
        self._roster.withdraw(address, following.source.account)
        return address

    async def _say_what_is_left(self, following: _Following) -> None:
        source = following.source
        left = source.broker.left if source.broker else frozenset[str]()
        text = "" if following.taps else left_behind(source.account[0], source.origin, left)
        if text and text != following.said:
            about = f"left {source.origin}"
            await self.parts.report(Report(News.WARNING, text, topic=about))
        following.said = text

    # ------------------------------------------------------------------ one queue

    def _assign(self) -> None:
        """Have each queue pulled by the one whose turn it is, as soon as nobody else does."""
        wanted = {} if self._is_shut else self._roster.pulled
        for address, pulling in list(self._pulling.items()):
            if wanted.get(address) != pulling.account:
                pulling.tap.shut(pulling.scope.cancel)
        for address in sorted(wanted.keys() - self._pulling.keys() - set(self.aside)):
            self._begin(address, self._followed[wanted[address]])

    def _begin(self, address: str, following: _Following) -> None:
        tap = next(tap for tap in following.taps.values() if tap.address == address)
        pulling = self._pulling[address] = _Pulling(following.source.account, tap.fresh())
        self._running().start_soon(self._pull, address, following.source, pulling)

    async def _pull(self, address: str, source: Source, pulling: _Pulling) -> None:
        try:
            with self.supply.used(source.account), pulling.scope:
                await self._pull_on(source, pulling.tap)
                self.aside.add(address)
        finally:
            del self._pulling[address]
            self._changed.set()
            self._changed = anyio.Event()
        self._assign()

    async def _pull_on(self, source: Source, tap: Tap) -> None:
        pauses = Pauses()
        while True:
            try:
                return await self.puller(source, tap).pull()
            except Exception as error:  # noqa: BLE001 - one broker's trouble must stop no other
                await source.pause(pauses.after(await source.failed(error)))

    def _running(self) -> TaskGroup:
        assert self._group is not None  # noqa: S101 - queues are found while it serves
        return self._group

    async def _say(self, text: str) -> None:
        await self.parts.report(Report(News.QUEUES_CHANGED, text))


def names_queue(written: Iterable[str], queue: str) -> bool:
    """Tell whether a queue is among those that were named, by short name or by address."""
    names = (unquote(one) for one in written)
    return any(one == queue or one.endswith((f"/{queue}", f"?{queue}")) for one in names)
