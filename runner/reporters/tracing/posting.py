"""Sends spans in the background, many at once, and never in anybody's way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from runner import log
from runner.model import Report
from runner.reporters.base import Reporter
from runner.reporters.errand import Errands, StillBusy
from runner.reporters.tracing.base import Exporter, Refused, TraceSpan, Undelivered

_log = log.get_logger(__name__)

#: Seconds that one call may take in all.
_CALL = 15.0
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How many spans wait, for how long, and how many go together."""

    #: Of all that wait; the oldest make room.
    most: int = 2048
    together: int = 512
    #: What ends within it is sent together.
    gather: timedelta = timedelta(seconds=2)
    #: Before the second try; it doubles with each one, up to a minute.
    pause: timedelta = timedelta(seconds=1)
    #: What was not taken for so long is dropped: it may be what is refused.
    patience: timedelta = timedelta(minutes=10)
    #: The whole of one call, however the collector dawdles.
    call: timedelta = timedelta(seconds=_CALL)


class SpanPost(Reporter):
    """A bounded queue of spans with one sender, ``run``; ``add`` returns at once."""

    name = "traces"

    def __init__(
        self,
        exporter: Callable[[], Exporter],
        *,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``exporter`` makes the exporter, in a thread, once there is a span to send."""
        self._make = exporter
        self._exporter: Exporter | None = None
        self._pace = pace
        self._clock = clock
        self._errands = Errands("traces", seconds=pace.call.total_seconds())
        self._spans: deque[TraceSpan] = deque()
        self._changed = anyio.Event()
        #: The daemon ends: nothing is gathered any more.
        self._hurried = anyio.Event()
        self._under_way = 0
        #: Since spans were last taken.
        self._dropped = 0
        self._is_waiting = False

    def add(self, span: TraceSpan) -> None:
        """Have a span sent."""
        self._spans.append(span)
        if len(self._spans) > self._pace.most:
            self._spans.popleft()
            self._drop(1, "too many of them wait")
        self._tell()

    async def send(self, report: Report) -> None:
        """Let news pass: a span is none."""

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            while not self._spans:
                await self._changed.wait()
            with anyio.move_on_after(self._pace.gather.total_seconds()):
                await self._hurried.wait()
            taken = min(self._pace.together, len(self._spans))
            spans = [self._spans.popleft() for _ in range(taken)]
            self._under_way = taken
            try:
                await self._see_off(spans)
            finally:
                self._under_way = 0
                self._tell()

    async def flush(self, seconds: float) -> None:
        """Wait until nothing is left, at most so long; say how much is left then."""
        self._hurried.set()
        with anyio.move_on_after(seconds):
            while self._spans or self._under_way:
                await self._changed.wait()
        if left := len(self._spans) + self._under_way:
            _log.warning("spans were not told", count=left + self._dropped)

    async def _see_off(self, spans: Sequence[TraceSpan]) -> None:
        give_up = self._clock() + self._pace.patience.total_seconds()
        pause = self._pace.pause.total_seconds()
        while (error := await self._try(spans)) is not None:
            trouble = str(error) or "the collector did not answer in time"
            if isinstance(error, Refused) or self._clock() + pause > give_up:
                self._drop(len(spans), trouble)
                return
            if not self._is_waiting:
                _log.warning("spans wait", trouble=trouble)
                self._is_waiting = True
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        if self._is_waiting or self._dropped:
            _log.info("spans are told again", dropped=self._dropped)
        self._dropped, self._is_waiting = 0, False

    async def _try(self, spans: Sequence[TraceSpan]) -> Exception | None:
        """Return what kept them from being taken."""
        try:
            await self._errands.run(lambda: self._export(spans))
        except (Undelivered, StillBusy, TimeoutError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - some spans must not stop all others
            _log.error("a defect of the runner", reporter=self.name, exc_info=error)
        return None

    def _export(self, spans: Sequence[TraceSpan]) -> None:
        """Run in the thread, of which there is one at a time."""
        if self._exporter is None:
            self._exporter = self._make()
        self._exporter.export(spans)

    def _drop(self, count: int, trouble: str) -> None:
        if not self._dropped:
            _log.warning("spans are dropped", trouble=trouble)
        self._dropped += count

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
