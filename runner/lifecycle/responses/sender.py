"""Sends what is posted for one response queue: patiently for a while, and in nobody's way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import anyio

from runner import blocking, log
from runner.errors import QueueGone, QueueUnavailable, RunnerError
from runner.lifecycle.responses import documents
from runner.lifecycle.responses.documents import Severity
from runner.lifecycle.responses.outbox import Letter, Outbox
from runner.lifecycle.responses.sealing import Sealing
from runner.queues.mailbox import Mailbox

_log = log.get_logger(__name__)

#: Seconds that a call may take, and after which we look again for a queue that is not there.
_CALL, _LOOK_AGAIN = 15.0, 30.0
#: Seconds that reports wait for a broker in trouble, and before its second and its later tries.
_PATIENCE, _PAUSE, _LONGEST_PAUSE = 600.0, 0.5, 30.0
_MOST_DOUBLINGS = 10
#: What a report gets longer by when it is sealed: first by so many times, then by so many bytes.
_GROWTH, _SEAL = 4 / 3, 800
_SEALING = blocking.Limit(2)


@dataclass(frozen=True, slots=True)
class Office:
    """What all senders of a daemon share."""

    #: The runner's name in reports.
    host: str
    sealing: Sealing
    clock: Callable[[], float]


class Sender:
    """One response queue: what waits for it, and how it stands with it."""

    def __init__(
        self,
        queue: str,
        office: Office,
        mailbox: Callable[[], Mailbox | None],
        used: Callable[[], AbstractContextManager[None]],
        limiter: anyio.CapacityLimiter,
    ) -> None:
        """``mailbox`` raises QueueUnavailable while the broker is not open; ``used`` keeps it so.

        ``limiter`` bounds what one account's dead broker can hold up at a time.
        """
        self._queue = queue
        self._office = office
        self._mailbox = mailbox
        self._used = used
        self._limiter = limiter
        self._outbox = Outbox()
        self._news = anyio.Event()
        self._is_busy = False
        self._has_ended = False
        self._closed_until = float("-inf")
        self._said = ""
        self._failures = 0
        self._held = ExitStack()

    @property
    def is_closed(self) -> bool:
        """Nobody is there to read anything, as far as was known a moment ago."""
        return self._office.clock() < self._closed_until

    @property
    def is_idle(self) -> bool:
        """Nothing waits."""
        return not self._outbox and not self._is_busy

    @property
    def left(self) -> int:
        """How many reports were not sent, or lost and not told of."""
        return len(self._outbox) + self._outbox.lost

    def put(self, letters: Sequence[Letter]) -> None:
        """Have letters sent."""
        if self.is_idle:
            self._held.enter_context(self._used())
        for letter in letters:
            self._outbox.put(letter)
        self._news.set()

    def end(self) -> None:
        """Send nothing more, and let the broker go."""
        self._has_ended = True
        self._held.close()
        self._news.set()

    async def run(self, told: Callable[[], None]) -> None:
        """Send until its end; ``told`` is called after each bundle."""
        while not self._has_ended:
            self._news = anyio.Event()
            if not self._outbox:
                self._held.close()
                await self._news.wait()
            else:
                pause = await self._send()
                told()
                await anyio.sleep(pause)

    # ------------------------------------------------------------------ one bundle

    async def _send(self) -> float:
        """Send the first letters; return the seconds before the next ones."""
        letters: list[Letter] = []
        self._is_busy = True
        try:
            async with self._limiter:
                mailbox = self._mailbox()
                if mailbox is None:
                    return self._shut("its broker has no response queues")
                letters = self._outbox.take(mailbox.most - 1, _room(mailbox))
                await self._deliver(mailbox, letters)
        except QueueGone as error:
            return self._shut(f"there is no response queue: {error}")
        except QueueUnavailable as error:
            return self._wait(letters, str(error))
        except RunnerError as error:  # these, and no others
            self._outbox.lost += len(letters)
            self._say(f"reports were refused: {error}")
        except Exception as error:  # noqa: BLE001 - one bundle must not end what sends the others
            self._outbox.lost += len(letters)
            _log.error("a defect of the runner", queue=self._queue, exc_info=error)
        finally:
            self._is_busy = False
        return 0.0

    async def _deliver(self, mailbox: Mailbox, letters: list[Letter]) -> None:
        lost = self._outbox.say_lost()
        sent = [self._about_lost(lost), *letters] if lost else letters
        sealing = self._office.sealing
        try:
            made = await blocking.call(lambda _: sealing.sealed(mailbox.name, sent), limit=_SEALING)
            bodies = [body for body in made if body is not None]
            if not bodies:
                self._keep_quiet(mailbox)
                return
            with anyio.fail_after(_CALL):
                await mailbox.post(bodies)
        except TimeoutError as error:
            self._outbox.lost += lost
            raise QueueUnavailable(f"no answer in {_CALL:g} s") from error
        except BaseException:
            self._outbox.lost += lost
            raise
        self._failures = 0
        self._say("")

    def _keep_quiet(self, mailbox: Mailbox) -> None:
        """There was no key; what comes next may need none."""
        why = self._office.sealing.why_not(mailbox.name)
        if self._office.sealing.clear_text:
            self._say(f"what came sealed is not told: {why}")
        else:
            self._shut(why)

    def _about_lost(self, count: int) -> Letter:
        at = time.time_ns()
        said = f"{count} reports were lost before this one"
        payload = documents.entry(said, at, Severity.WARNING, {"lost": str(count)})
        body = documents.encoded(documents.report(payload, at, executor=self._office.host))
        return Letter(body, self._office.clock(), matters=True, is_private=False)

    def _shut(self, why: str) -> float:
        """Nobody reads there: keep nothing, and look again later."""
        self._outbox.clear()
        self._closed_until = self._office.clock() + _LOOK_AGAIN
        self._say(why)
        return 0.0

    def _wait(self, letters: list[Letter], trouble: str) -> float:
        before = self._outbox.lost
        self._outbox.put_back(letters, self._office.clock() - _PATIENCE)
        if self._outbox.lost > before:
            _log.warning("reports are lost", queue=self._queue, count=self._outbox.lost)
        pause = min(_PAUSE * float(2**self._failures), _LONGEST_PAUSE)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        self._say(f"reports wait: {trouble}")
        return pause * (0.5 + random.random())  # noqa: S311 - no secret

    def _say(self, said: str) -> None:
        """Say it once, until something else is true."""
        if said == self._said:
            return
        self._said = said
        if not said:
            _log.info("reports are sent", queue=self._queue)
        elif self.is_closed:
            _log.info("no reports are sent", queue=self._queue, why=said)
        else:
            _log.warning("trouble with a response queue", queue=self._queue, trouble=said)


def _room(mailbox: Mailbox) -> int:
    """Return how many bytes may be taken so that they fit when they are sealed."""
    return int((mailbox.longest - mailbox.most * _SEAL) / _GROWTH)
