"""Waiting for an experiment: its live output from the daemon, its end from the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio

from runner import blocking
from runner.cli import show
from runner.cli.daemon import HISTORY
from runner.cli.masking import masked, redactor_for
from runner.cli.meter import Meter
from runner.cli.output import Output
from runner.cli.waiting import Reasons
from runner.client.results import ended_here
from runner.client.shop import Shop
from runner.control.client import NoDaemon, Refusal, ask
from runner.control.protocol import Item
from runner.errors import Unavailable
from runner.lifecycle import history
from runner.lifecycle.ownership.record import ClaimRecord, State
from runner.lifecycle.runs.wanted import Wanted
from runner.model import Cause
from runner.queues.base import Inspectable
from runner.queues.drawer import DeadLetter

T = TypeVar("T")

#: Looks into a store, which may be far away.
_LIMIT = blocking.Limit(1)
_LOOK_FOR_LETTERS_EVERY = 2.0
_SIGNALLED = 128
_HIGHEST_EXIT = 255


@dataclass(frozen=True, slots=True)
class Ending:
    """How an experiment ended."""

    cause: str
    exit_code: int | None
    detail: str
    attempt: int

    @property
    def status(self) -> int:
        """The exit status of a command that stands for the experiment."""
        if self.cause == Cause.COMPLETED:
            return 0
        code = self.exit_code or 1
        return min(_SIGNALLED - code if code < 0 else code, _HIGHEST_EXIT)

    @property
    def sentence(self) -> str:
        """The end in words."""
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"{self.cause}{attempt}" + (f": {self.detail}" if self.detail else "")


@dataclass
class Watch:
    """One experiment that somebody waits for."""

    shop: Shop
    key: str
    #: ``experiment.time_added``; the record of an earlier submission of the key is not ours.
    submitted: float | None
    control: Path
    #: ``None``: only the end is wanted.
    output: Output | None = None
    #: Where a message that nobody can run ends up, with the message's id.
    queue: Inspectable | None = None
    message_id: str = ""
    #: Who can say why it waits.
    reasons: Reasons | None = None
    #: What is wanted of the output.
    wanted: Wanted = field(default_factory=Wanted)

    def __post_init__(self) -> None:
        self._said = ""
        self._stored: str | None = None

    async def ending(self) -> Ending:
        """Wait for the end, showing what happens on the way."""
        look_for_letters = anyio.current_time()
        while True:
            record = await self._record()
            if record and record.state is State.ENDED:
                await self._show_stored()
                return _ending(record)
            self._say(record)
            if anyio.current_time() >= look_for_letters:
                look_for_letters = anyio.current_time() + _LOOK_FOR_LETTERS_EVERY
                if ended := await self._ended_elsewhere():
                    return ended
                if record is None and self.reasons is not None:
                    await self.reasons.tell()
            if self.output is not None:
                await self._stream(self.output)
                if record is not None:
                    await self._show_stored_anew()
            await anyio.sleep(self.shop.look_every)

    async def _record(self) -> ClaimRecord | None:
        try:
            record = await asked(self.shop, lambda _: self.shop.claim(self.key))
        except Unavailable as error:  # it may be back long before the experiment's end
            self._note(str(error))
            return None
        if record and self.submitted is not None and record.submitted not in {None, self.submitted}:
            return None
        return record

    async def _ended_elsewhere(self) -> Ending | None:
        """Return an end that the store does not know of."""
        if letter := await self._letter():
            return Ending("buried", None, letter.reason, 0)
        return self._ended_here()

    async def _letter(self) -> DeadLetter | None:
        letters: Sequence[DeadLetter] = await self.queue.dead() if self.queue else ()
        return next((one for one in letters if one.message.id == self.message_id), None)

    def _ended_here(self) -> Ending | None:
        """Return an end that left no record: of a message refused before anything was claimed."""
        lately = history.read(self.control.with_name(HISTORY))
        one = ended_here(lately, self.key, self.submitted)
        return Ending(one.cause, one.exit_code, one.detail, 0) if one else None

    async def _stream(self, output: Output) -> None:
        """Print what the daemon on this machine has, until it has no more."""
        with Meter(f"{self.key}: fetching") as meter:
            part = {"tail": self.wanted.lines, "since": self.wanted.since}
            asked = ask(self.control, "logs", key=self.key, follow=True, **part)
            async for item in _quietly(asked):
                if "text" in item:
                    meter.clear()
                    self._begins_at(item.get("start", 0))
                    output.write(str(item["text"]))
                elif "fetched" in item:
                    meter.show(item["fetched"], item["of"])
                else:
                    output.begin()
        output.end()

    async def _show_stored_anew(self) -> None:
        """Print what checkpoints have added: all there is of a run on another machine."""
        try:
            stored = await asked(self.shop, lambda _: self.shop.output_version(self.key))
            if stored not in {None, self._stored}:
                self._stored = stored
                await self._show_stored()
        except Unavailable as error:
            self._note(str(error))

    async def _show_stored(self) -> None:
        if self.output is not None:
            start = await show_stored(self.shop, self.key, self.wanted, self.output)
            if start is not None:
                self._begins_at(start)

    def _begins_at(self, place: int) -> None:
        """Read from there ever after: what is read again is compared from its first byte on."""
        self.wanted = Wanted(since=place)

    def _say(self, record: ClaimRecord | None) -> None:
        sentence = "waiting for a runner"
        if record is not None and record.state is State.RUNNING:
            sentence = f"attempt {record.attempt} on {record.owner.host}"
        elif record is not None:
            why = record.outcome.cause if record.outcome else record.previous_cause
            sentence = (
                f"attempt {record.attempt} ended ({why or 'given back'}); waiting for the next"
            )
        self._note(sentence)

    def _note(self, sentence: str) -> None:
        """Say what was not said last: an outage may last for a night."""
        if sentence != self._said:
            self._said = sentence
            show.note(f"{self.key}: {sentence}")


async def show_stored(shop: Shop, key: str, wanted: Wanted, output: Output) -> int | None:
    """Print a part of the stored output, as it comes; return where it begins, in bytes.

    ``None``: nothing is stored yet. Raises what the store raises.
    """

    def work(stop: blocking.Stop) -> int | None:
        redactor = redactor_for(shop, key)
        begun: list[int] = []

        def take(start: int, pieces: Iterator[bytes]) -> None:
            begun.append(start)
            output.begin()
            for text in masked(pieces, redactor):
                stop.check()
                output.write(text)
            output.end()

        return begun[-1] if shop.output(key, wanted, take) else None

    return await asked(shop, work)


async def asked(shop: Shop, function: Callable[[blocking.Stop], T]) -> T:
    """Ask a store in a thread; who stops waiting need not wait for its answer."""

    def work(stop: blocking.Stop) -> T:
        with stop.calling(shop.cut):
            stop.check()
            return function(stop)

    return await blocking.call(work, limit=_LIMIT)


async def _quietly(items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """Without a daemon on this machine there is just nothing to see."""
    with suppress(NoDaemon, Refusal):
        async for item in items:
            yield item


def _ending(record: ClaimRecord) -> Ending:
    outcome = record.outcome
    if outcome is None:
        return Ending("unknown", None, "the runner left no outcome", record.attempt)
    return Ending(outcome.cause, outcome.exit_code, outcome.detail, record.attempt)
