"""How credentials stand, and what is news when that changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runner.model import News, Report

#: An account: the broker, and the project or profile there.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """One account of one broker."""

    origin: str
    #: What keeps it from working; empty: it works.
    trouble: str = ""
    is_open: bool = True


def topic(origin: str) -> str:
    """Return what reports about a credential are told under."""
    return f"credential {origin}"


def changes(before: Mapping[Key, Standing], after: Mapping[Key, Standing]) -> Iterator[Report]:
    """Yield what an operator is told; new troubles are told by who has them.

    A secret that was rotated is no news: some are every hour.
    """
    for key in before.keys() - after.keys():
        yield _changed(key, before[key].origin, "is gone; what runs of it finishes")
    for key, now in after.items():
        was = before.get(key)
        if was is None:
            yield _changed(key, now.origin, "was added")
        elif was.trouble and not now.trouble and now.is_open:
            text = f"{key[0]} queues of {now.origin}: it works again"
            yield Report(News.RECOVERED, text, topic=topic(now.origin))


def complaints(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Report]:
    """Yield what is told of files and options that should hold a credential: place to trouble."""
    for place, trouble in after.items():
        if before.get(place) != trouble:
            yield Report(News.WARNING, f"{place}: {trouble}", topic=topic(place))
    for place in before.keys() - after.keys():
        yield Report(News.RECOVERED, f"{place}: it is in order now", topic=topic(place))


def _changed(key: Key, origin: str, what: str) -> Report:
    text = f"the credential {origin} ({key[0]}) {what}"
    return Report(News.CREDENTIALS_CHANGED, text, topic=topic(origin))
