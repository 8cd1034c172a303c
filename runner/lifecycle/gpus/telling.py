"""When the operator is told of a withheld card, and when of its return: each once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from runner.lifecycle.gpus.health import Kind, Withheld
from runner.model import Gpu, News, Report

#: Seconds for which it has to last before it is told: others come and go, and a driver that is
#: reloaded is away for a moment.
PATIENCE: Mapping[Kind, float] = {Kind.FOREIGN: 60.0, Kind.DRIVER: 15.0}
#: Seconds of health before the end of such a thing is told: what comes and goes is one story.
CALM: Mapping[Kind, float] = {Kind.FOREIGN: 300.0}
DRIVER = "gpu driver"
_BROKEN = frozenset({Kind.LOST, Kind.REPAIR, Kind.ECC})


@dataclass(frozen=True, slots=True)
class Story:
    """One thing that may be worth telling: of a card, or of the driver."""

    kind: Kind
    #: Since when it is so; ``None``: it is over.
    since: float | None
    #: When it was last so.
    last: float
    is_told: bool = False


def topic(uuid: str) -> str:
    """Return what reports about a card are told under."""
    return f"gpu {uuid}"


class Telling:
    """Remembers what was told. What only waits for a run's memory is never told."""

    def __init__(self) -> None:
        #: By topic.
        self._stories: dict[str, Story] = {}

    def news(
        self, gpus: tuple[Gpu, ...], withheld: Mapping[str, Withheld], now: float
    ) -> Iterator[Report]:
        """Yield what has become worth telling."""
        # A driver that does not answer is one story, however many cards it has.
        dead = next((why for why in withheld.values() if why.kind is Kind.DRIVER), None)
        yield from self._told(DRIVER, dead, now, bad="no GPU is", good="GPUs are")
        if dead is not None:
            return
        for gpu in gpus:
            said = f"{gpu.uuid} ({gpu.name}) is"
            why = withheld.get(gpu.uuid)
            why = None if why is None or why.kind is Kind.RETURNING else why
            yield from self._told(topic(gpu.uuid), why, now, bad=f"{said} not", good=said)

    def _told(
        self, about: str, why: Withheld | None, now: float, *, bad: str, good: str
    ) -> Iterator[Report]:
        if why is None:
            if self._ended(about, now):
                yield Report(News.RECOVERED, f"{good} given out again", topic=about)
        elif self._goes_on(about, why, now):
            yield Report(News.GPU_WITHHELD, f"{bad} given out: {why.why}", topic=about)

    def _goes_on(self, about: str, why: Withheld, now: float) -> bool:
        story = self._stories.get(about)
        if story is None or not _goes_with(story.kind, why.kind):
            story = Story(why.kind, now, now)
        since = now if story.since is None else story.since
        is_told = story.is_told or now - since >= PATIENCE.get(why.kind, 0.0)
        self._stories[about] = replace(story, since=since, last=now, is_told=is_told)
        return is_told and not story.is_told

    def _ended(self, about: str, now: float) -> bool:
        story = self._stories.get(about)
        if story is None:
            return False
        if story.is_told and now - story.last < CALM.get(story.kind, 0.0):
            self._stories[about] = replace(story, since=None)
            return False
        del self._stories[about]
        return story.is_told


def _goes_with(before: Kind, after: Kind) -> bool:
    """Tell whether it is the same story: a card that is back is watched for a while."""
    return before is after or (after is Kind.XID and before in _BROKEN)
