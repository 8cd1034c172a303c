"""The cards that were ever seen: one that is lost keeps its place, so the others keep theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from runner.model import Gpu
from runner.resources.base import GpuReading
from runner.resources.nvml.answer import Answer, Card

_UNCOUNTED = "the driver does not count it any more"
_TAKEN_APART = "the card was partitioned anew"


@dataclass
class Place:
    """One card, counted as the driver did when it was first seen."""

    #: Of the whole card; empty as long as it has not said so.
    uuid: str = ""
    #: All that it ever was, by UUID: itself, or its parts.
    gpus: dict[str, Gpu] = field(default_factory=dict)
    readings: dict[str, GpuReading] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    #: Why it does not answer.
    lost: str = ""


class Known:
    """The places, brought up to date with every answer."""

    def __init__(self) -> None:
        self.places: list[Place] = []

    def take(self, answer: Answer) -> None:
        """Bring everything up to date."""
        if answer.error:
            for place in self.places:
                _lose(place, answer.error, ())
            return
        self._find_places(answer.cards)
        said = {card.uuid: card for card in answer.cards if card.uuid}
        for index, place in enumerate(self.places):
            card = said.get(place.uuid)
            if card is not None and not card.lost:
                _update(place, card)
            else:
                card = card or _nameless(answer.cards, index)
                why, is_gone = (card.lost, card.is_gone) if card else (_UNCOUNTED, False)
                _lose(place, why, answer.xids.get(place.uuid, ()), is_gone=is_gone)

    def gpus(self) -> Iterator[Gpu | None]:
        """Yield the cards and the parts of cards; ``None`` for one with nothing to give."""
        for place in self.places:
            yield from place.gpus.values() or (None,)

    def _find_places(self, cards: tuple[Card, ...]) -> None:
        """Give each card that is seen for the first time a place, its own where that is free."""
        self.places += [Place() for _ in cards[len(self.places) :]]
        known = {place.uuid for place in self.places}
        for index, card in enumerate(cards):
            if card.lost or card.uuid in known:
                continue
            if self.places[index].uuid:
                self.places.append(Place(card.uuid))
            else:
                self.places[index].uuid = card.uuid


def _update(place: Place, card: Card) -> None:
    now = {gpu.uuid: gpu for gpu in card.gpus}
    apart = {uuid: GpuReading(lost=_TAKEN_APART) for uuid in place.gpus.keys() - now.keys()}
    for uuid, gpu in now.items():
        before = place.gpus.get(uuid)
        place.gpus[uuid] = gpu if before is None else replace(gpu, links=_both(before, gpu))
    place.readings = {**apart, **card.readings}
    place.aliases.update(card.aliases)
    place.lost = ""


def _both(before: Gpu, now: Gpu) -> tuple[tuple[str, int], ...]:
    """Keep how far a card is that is lost now."""
    return tuple(sorted({**dict(before.links), **dict(now.links)}.items()))


def _lose(place: Place, why: str, xids: tuple[int, ...], *, is_gone: bool = False) -> None:
    place.lost = why
    reading = GpuReading(lost=why, xids=xids, is_gone=is_gone)
    place.readings = dict.fromkeys(place.gpus, reading)


def _nameless(cards: tuple[Card, ...], index: int) -> Card | None:
    """Return what the driver says of a card that did not even say who it is."""
    found = [card for card in cards if card.lost and not card.uuid]
    own = (card for card in cards[index : index + 1] if card in found)
    return next(own, found[0] if found else None)
