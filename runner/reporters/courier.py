"""Sends news in the background: in order, patiently for a while, and never in anybody's way."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.model import Report
from runner.reporters.once import Once
from runner.reporters.outbox import MOST, Letter, Outbox

_log = log.get_logger(__name__)

#: Seconds between two tries.
_LONGEST = 60.0
#: Refusals that are remembered as said, and for how many seconds: what is lost stays no secret.
_MOST_SAID, _SAID_AGAIN = 100, 3600.0


class Later(Exception):
    """It may succeed later: no network, an overloaded server, too many messages at once."""

    def __init__(self, trouble: str, seconds: float | None = None) -> None:
        """``seconds``: what the server itself asked to wait."""
        super().__init__(trouble)
        self.seconds = seconds


class Hopeless(Exception):
    """It is refused, and will be as long as nobody changes something."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long news waits for a server; what matters is worth more of it."""

    news: timedelta = timedelta(minutes=10)
    #: Of experiments, and of what stays true until its own end is told.
    endings: timedelta = timedelta(hours=1)
    #: Before the second try; it doubles with each one, up to a minute.
    pause: timedelta = timedelta(seconds=1)

    def of(self, letter: Letter) -> float:
        """Return the seconds from its posting to its being given up."""
        return (self.endings if letter.matters else self.news).total_seconds()


class Courier:
    """A bounded queue with one sender, ``run``; ``post`` returns at once, whatever happens."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[Report], Awaitable[None]],
        *,
        patience: Patience = Patience(),
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``deliver`` raises Later and Hopeless."""
        self._name = name
        self._deliver = deliver
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._outbox = Outbox(most)
        self._once = Once()
        self._changed = anyio.Event()
        self._is_busy = False
        #: Nothing is tried before this time.
        self._resume_at = 0.0
        self._failures = 0
        #: Since the place was last reached.
        self._dropped = 0
        self._is_waiting = False
        #: When a refusal was last said.
        self._said: dict[str, float] = {}

    def post(self, report: Report) -> None:
        """Have a report sent, unless it only repeats what stands."""
        if self._once.is_news(report):
            self._drop(self._outbox.put(Letter(report, self._clock())), "its queue is full")
            self._tell()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            while not self._outbox:
                await self._changed.wait()
            letter, self._is_busy = self._outbox.take(), True
            try:
                await self._see_off(letter)
            finally:
                self._is_busy = False
                self._tell()

    async def flush(self, seconds: float) -> None:
        """Wait until nothing is left, at most so long; say how much is left then."""
        with anyio.move_on_after(seconds):
            while self._outbox or self._is_busy:
                await self._changed.wait()
        if left := len(self._outbox) + self._is_busy + self._dropped:
            _log.warning("news was not told", reporter=self._name, count=left)

    # ------------------------------------------------------------------ one letter

    async def _see_off(self, letter: Letter) -> None:
        give_up_at = letter.posted_at + self._patience.of(letter)
        trouble = "it did not answer in time"
        while max(self._resume_at, self._clock()) <= give_up_at:
            await self._sleep(max(0.0, self._resume_at - self._clock()))
            try:
                await self._deliver(letter.report)
            except Later as error:
                trouble = str(error)
                self._wait(error)
            except Hopeless as error:
                return self._refused(str(error))
            except Exception as error:  # noqa: BLE001 - one letter must not stop all others
                _log.error("a defect of the runner", reporter=self._name, exc_info=error)
                return None
            else:
                return self._arrived()
        return self._drop(1, trouble)

    def _wait(self, error: Later) -> None:
        shortest = self._patience.pause.total_seconds()
        if error.seconds is None:
            pause = min(shortest * 2**self._failures, _LONGEST) * (0.5 + self._chance())
            self._failures = min(self._failures + 1, 10)
            if not self._is_waiting:
                _log.warning("news waits", reporter=self._name, trouble=str(error))
                self._is_waiting = True
        else:
            pause = max(error.seconds, shortest)  # a server that asks for none is not hammered
        self._resume_at = self._clock() + pause

    def _arrived(self) -> None:
        if self._is_waiting or self._dropped:
            _log.info("news is told again", reporter=self._name, dropped=self._dropped)
        self._failures, self._dropped, self._is_waiting = 0, 0, False

    def _refused(self, trouble: str) -> None:
        """The same sentence for each of a hundred experiments helps nobody."""
        now = self._clock()
        if trouble not in self._said or now - self._said[trouble] >= _SAID_AGAIN:
            self._said.pop(trouble, None)
            if len(self._said) >= _MOST_SAID:
                del self._said[next(iter(self._said))]
            self._said[trouble] = now
            _log.warning("news is refused", reporter=self._name, trouble=trouble)

    def _drop(self, count: int, trouble: str) -> None:
        if count and not self._dropped:
            _log.warning("news is dropped", reporter=self._name, trouble=trouble)
        self._dropped += count

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
