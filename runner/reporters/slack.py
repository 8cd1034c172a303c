"""News in Slack: one message an experiment with a bot's token, results alone with a hook."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace

from runner import log
from runner.model import Cause, News, Report
from runner.redaction import Redactor
from runner.reporters.courier import Hopeless, Patience
from runner.reporters.options import SlackOptions
from runner.reporters.posting import PostingReporter
from runner.reporters.slack_calls import Calls, MessageGone, NoPlace
from runner.reporters.slack_cards import (
    Card,
    Course,
    details_card,
    experiment_card,
    host_card,
    line_card,
    whole_card,
)
from runner.reporters.slack_choice import channel, is_told
from runner.reporters.slack_threads import Thread, Threads

_log = log.get_logger(__name__)

#: A message is not changed more often for a checkpoint: Slack allows some fifty changes a minute.
_BETWEEN_CHECKPOINTS = 60.0
_MOST_SHOWN = 1000


class SlackReporter(PostingReporter):
    """Tells Slack, in the background; whatever Slack does, nobody waits for it."""

    name = "slack"

    def __init__(
        self,
        options: SlackOptions,
        redactor: Redactor,
        *,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(redactor, patience=patience)
        self._options = options
        self._clock = clock
        self._host = socket.gethostname()
        self._calls = Calls(token=options.token, hook=options.hook, api=options.api)
        self._threads = Threads(options.memory)
        #: When a checkpoint was last shown, by experiment.
        self._shown: dict[str, float] = {}
        #: Queues of which it was told that an experiment asks for more than this machine has.
        self._too_big: set[str] = set()

    def tells(self, report: Report) -> bool:
        """Leave out what people in a channel have no use for."""
        if not is_told(report, follows=bool(self._options.token)):
            return False
        if report.cause is Cause.TOO_BIG:  # it goes from runner to runner until one has the room
            is_first = report.queue not in self._too_big
            self._too_big.add(report.queue)
            return is_first
        return True

    async def deliver(self, report: Report) -> None:
        """Tell one report."""
        if not self._options.token:
            await self._by_hook(report)
        elif report.key and report.news in {News.STARTED, News.CHECKPOINTED, News.ENDED}:
            await self._follow(report)
        else:
            await self._post(report, self._alone(report))

    async def _by_hook(self, report: Report) -> None:
        """Tell it whole; only old hooks heed a channel, and may not find it."""
        room, wanted, card = self._options.room, self._channel(report), self._alone(report)
        try:
            await self._calls.hook(wanted, card)
        except NoPlace as error:
            if wanted == room:
                raise
            self._say_where(wanted, error)
            await self._calls.hook(room, card)

    def _alone(self, report: Report) -> Card:
        is_result = report.news is News.ENDED
        return whole_card(report, self._host) if is_result else host_card(report, self._host)

    def _channel(self, report: Report) -> str:
        return channel(report, room=self._options.room, allowed=self._options.destinations)

    # ------------------------------------------------------------------ one message an experiment

    async def _follow(self, report: Report) -> None:
        experiment = f"{report.queue} {report.key}"
        thread = self._threads.find(experiment)
        if report.news is News.CHECKPOINTED:
            await self._checkpoint(experiment, thread, report)
            return
        if thread is None and _was_never_told(report):
            return
        told = await self._show(experiment, thread, report)
        if report.news is News.ENDED:
            await self._end(experiment, told, report)
        elif report.attempt > 1 and not report.facts.get("adopted"):
            said = line_card(f"attempt {report.attempt} is running on {self._host}")
            await self._calls.post(told.channel, said, below=told.ts)

    async def _end(self, experiment: str, told: Thread, report: Report) -> None:
        try:
            await self._calls.post(told.channel, details_card(report), below=told.ts)
        except Hopeless:
            self._forget(experiment)
            raise
        if report.result is None or report.result.is_final:
            self._forget(experiment)

    def _forget(self, experiment: str) -> None:
        self._threads.forget(experiment)
        self._shown.pop(experiment, None)

    async def _checkpoint(self, experiment: str, thread: Thread | None, report: Report) -> None:
        """Count it; one that comes soon after another is shown by the next change."""
        if thread is not None:
            thread = replace(thread, checkpoints=thread.checkpoints + 1)
        shown = self._shown.get(experiment)
        if shown is None or self._clock() - shown >= _BETWEEN_CHECKPOINTS:
            thread = await self._show(experiment, thread, report)
            if len(self._shown) > _MOST_SHOWN:  # of experiments that went on elsewhere
                self._shown.clear()
            self._shown[experiment] = self._clock()
        if thread is not None:
            self._threads.keep(experiment, thread)

    async def _show(self, experiment: str, thread: Thread | None, report: Report) -> Thread:
        """Bring an experiment's message up to date; write it where there is none."""
        stored = thread.checkpoints if thread else 0
        card = experiment_card(report, self._host, Course(stored))
        if thread is not None:
            try:
                await self._calls.change(thread.channel, thread.ts, card)
            except (MessageGone, NoPlace):
                self._threads.forget(experiment)
            else:
                return thread
        where, ts = await self._post(report, card)
        thread = Thread(where, ts, stored)
        self._threads.keep(experiment, thread)
        return thread

    async def _post(self, report: Report, card: Card) -> tuple[str, str]:
        """Post where it belongs; a place that its sender chose in vain costs nobody the news."""
        wanted = self._channel(report)
        try:
            return await self._calls.post(wanted, card)
        except NoPlace as error:
            if wanted == self._options.room or not self._options.room:
                raise
            self._say_where(wanted, error)
            return await self._calls.post(self._options.room, card)

    def _say_where(self, wanted: str, error: NoPlace) -> None:
        _log.info("told in --slack-room instead", wanted=wanted, trouble=str(error))


def _was_never_told(report: Report) -> bool:
    """What was given back before it ran, here, is the next runner's to tell."""
    result = report.result
    return result is not None and result.outcome == "stopped" and not result.is_final
