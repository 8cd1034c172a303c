"""Waiting for an experiment: its live output from the daemon, its end from the store."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import anyio

from runner import blocking
from runner.cli import show
from runner.cli.daemon import HISTORY
from runner.cli.masking import redactor_for
from runner.cli.meter import Meter
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

#: Looks into a store, which may be far away.
_LIMIT = blocking.Limit(1)
_LOOK_FOR_LETTERS_EVERY = 2.0
_HEAD = 256
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


class Output:
    """Prints an output that is read several times from its beginning, each part once.

    The output of a later attempt begins with that of the earlier ones; where it does not, as
    after a restart without its artifacts, it is printed whole.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._head = ""
        self._shown = 0
        self._pending: str | None = None
        self._skip = 0

    def begin(self) -> None:
        """Take what follows as the output from its beginning."""
        self._pending, self._skip = "", 0

    def write(self, text: str) -> None:
        """Print what of ``text`` was not printed yet."""
        if self._pending is not None:
            self._pending += text
            if len(self._pending) < len(self._head):
                return
            text, self._pending = self._pending, None
            self._compare(text)
        fresh = text[self._skip :]
        self._skip -= len(text) - len(fresh)
        self._emit(fresh)

    def end(self) -> None:
        """The output is over for now."""
        pending, self._pending = self._pending, None
        if pending and not self._head.startswith(pending):
            self._compare("")
            self._emit(pending)

    def _compare(self, text: str) -> None:
        if self._head and text.startswith(self._head):
            self._skip = self._shown
        else:
            self._head, self._shown, self._skip = "", 0, 0

    def _emit(self, text: str) -> None:
        if text:
            self._head += text[: _HEAD - len(self._head)]
            self._shown += len(text)
            self._out.write(text)
            self._out.flush()


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
                if letter := await self._letter():
                    return Ending("buried", None, letter.reason, 0)
                if ended := self._ended_here():
                    return ended
            if self.output is not None:
                await self._stream(self.output)
                if record is not None:
                    await self._show_stored_anew()
            await anyio.sleep(self.shop.look_every)

    async def _record(self) -> ClaimRecord | None:
        try:
            record = await blocking.call(lambda _: self.shop.claim(self.key), limit=_LIMIT)
        except Unavailable as error:  # it may be back long before the experiment's end
            show.note(f"{self.key}: {error}")
            return None
        if record and self.submitted is not None and record.submitted not in {None, self.submitted}:
            return None
        return record

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
            stored = await blocking.call(lambda _: self.shop.output_version(self.key), limit=_LIMIT)
            if stored not in {None, self._stored}:
                self._stored = stored
                await self._show_stored()
        except Unavailable as error:
            show.note(f"{self.key}: {error}")

    async def _show_stored(self) -> None:
        if self.output is None:
            return
        part = await blocking.call(
            lambda _: self.shop.output_part(self.key, self.wanted), limit=_LIMIT
        )
        if part is not None:
            self._begins_at(part.start)
            self.output.begin()
            self.output.write(redactor_for(self.shop, self.key).redact(part.text))
            self.output.end()

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
        if sentence != self._said:
            self._said = sentence
            show.note(f"{self.key}: {sentence}")


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
