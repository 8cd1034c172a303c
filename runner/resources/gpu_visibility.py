"""Which cards the daemon may give out when its own environment names some (protocol 6.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from runner.model import NOTHING, Gpu
from runner.resources.base import GpuInventory

CUDA, NVIDIA = VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_HIDING = frozenset({"none", "void", "nodevfiles"})
_PLACE = re.compile(r"([0-9]{1,9})(?::([0-9]{1,9}))?", re.ASCII)
_NEGATIVE = re.compile(r"-[0-9]+", re.ASCII)

#: The parts of a card that can be given: itself, or its MIG instances. Nothing where it does not
#: answer.
Card = tuple[Gpu, ...]


def visible(
    gpus: Sequence[Gpu | None],
    variables: Mapping[str, str],
    *,
    in_container: bool = False,
    aliases: Mapping[str, str] = NOTHING,
) -> GpuInventory:
    """Keep the cards that the first variable which is set names, in its order.

    ``gpus`` come in the driver's order, which is what indexes count: instances of one card stand
    together and count as one, ``None`` is a card with nothing to give. A card is named by index,
    by UUID or the beginning of one, an instance by its UUID, one of its ``aliases`` or as
    ``CARD:INSTANCE``; a card stands for all its instances. ``all`` is all of them; a set but empty
    variable hides all, as it does from CUDA itself.
    """
    cards = _cards(gpus)
    variable = next((name for name in VARIABLES if name in variables), None)
    if variable is None:
        return GpuInventory(_all(cards))
    value = variables[variable]
    words = list(_words(value))
    named = [_named(cards, aliases.get(word, word)) for word in words]
    missing = [word for word, found in zip(words, named, strict=True) if not found]
    if variable == NVIDIA and in_container and _is_carried_out(value, missing):
        return GpuInventory(_all(cards))
    said = _misnamed(variable, missing, cards) if missing else ""
    misnamed = said if any(not _may_be_silent(cards, word) for word in missing) else ""
    chosen = tuple(dict.fromkeys(gpu for found in named for gpu in found))
    if chosen:
        return GpuInventory(chosen, misnamed=misnamed)
    hides = f"{variable} is {value!r}, which hides all cards: unset it, or name cards in it"
    return GpuInventory(why_none=said or hides, misnamed=misnamed)


def _cards(gpus: Sequence[Gpu | None]) -> list[Card]:
    """Put the instances of a card together."""
    numbered = enumerate(gpus)
    groups = groupby(numbered, lambda one: (one[1] and one[1].parent) or one[0])
    return [tuple(gpu for _, gpu in group if gpu) for _, group in groups]


def _all(cards: Sequence[Card]) -> tuple[Gpu, ...]:
    return tuple(gpu for card in cards for gpu in card)


def _words(value: str) -> Iterator[str]:
    """Yield what is named; to CUDA everything after an entry that hides is hidden."""
    for entry in value.split(","):
        word = entry.strip()
        if word.lower() in _HIDING or _NEGATIVE.fullmatch(word):
            return
        if word:
            yield word.partition("=")[2] or word  # nvidia.com/gpu=0, as CDI calls it


def _is_carried_out(value: str, missing: Sequence[str]) -> bool:
    """Tell whether the container's runtime has done what the variable says.

    It is an order to NVIDIA's container toolkit. The toolkit numbers by the host's cards, of which
    this container sees a few; ``void``, nothing, or a directory of names is what it says when the
    devices came another way (CDI, mounts). Whatever is to be seen was meant to be.
    """
    word = value.strip().lower()
    return word in {"", "void"} or word.startswith("/") or any(map(_PLACE.fullmatch, missing))


def _may_be_silent(cards: Sequence[Card], word: str) -> bool:
    """Tell whether a card that does not answer may be meant: a broken one stops no daemon."""
    if place := _PLACE.fullmatch(word):
        return int(place[1]) < len(cards) and not cards[int(place[1])]
    return not all(cards)


def _named(cards: Sequence[Card], word: str) -> Sequence[Gpu]:
    if word.lower() == "all":
        return _all(cards)
    if place := _PLACE.fullmatch(word):
        card = next(iter(cards[int(place[1]) :]), ())
        if place[2] is None:
            return card
        return [gpu for gpu in card if gpu.parent][int(place[2]) :][:1]
    start = word.lower()
    exact = [gpu for gpu in _all(cards) if gpu.uuid.lower() == start]
    instances = [gpu for gpu in _all(cards) if gpu.uuid.lower().startswith(start)]
    whole = [card for card in cards if card and _uuid(card).lower().startswith(start)]
    if exact or (len(instances) == 1 and not whole):
        return exact or instances
    return whole[0] if len(whole) == 1 else ()


def _uuid(card: Card) -> str:
    return card[0].parent or card[0].uuid


def _misnamed(variable: str, missing: Sequence[str], cards: Sequence[Card]) -> str:
    there = "; ".join(line for index, card in enumerate(cards) for line in _described(index, card))
    return (
        f"{variable} names {', '.join(map(repr, missing))}, and no card, or more than one, is "
        f"called that; there are {there}: correct it, or unset it to give them all"
    )


def _described(index: int, card: Card) -> Iterator[str]:
    if not card:
        yield f"{index}, which does not answer or has nothing to give"
    for number, gpu in enumerate(card):
        place = f"{index}:{number}" if gpu.parent else str(index)
        yield f"{place} ({gpu.name}, {gpu.uuid})"
