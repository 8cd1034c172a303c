"""Who of those that prepare gets which cards, and who else may begin to prepare. Pure.

An experiment is claimed without its cards, fetched and built, and takes them when it can start.
Who is ready first takes what is free; who was claimed first, where several are. One that has waited
for longer than its patience (it is *owed*) is passed by nobody any more: what it could use is kept.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runner.lifecycle.gpus.choice import suitable, take_gpus
from runner.model import Gpu, Needs

Cards = tuple[Gpu, ...]


class Admission(enum.Enum):
    """What becomes of one that wants to be claimed."""

    #: There are cards for it beside all that prepare.
    NOW = enum.auto()
    #: Its cards are busy, and expected back in time.
    STAGED = enum.auto()
    NO = enum.auto()


@dataclass(frozen=True, slots=True)
class Preparing:
    """One that was claimed and has no cards yet."""

    #: It was claimed as the so-manyth.
    number: int
    needs: Needs
    #: Fetched and built: it waits for nothing but its cards.
    is_ready: bool = False
    #: It has waited for so long that nobody passes it any more.
    is_owed: bool = False
    #: Experiments like it keep their cards for longer than anybody waits for any.
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The cards."""

    #: What nobody holds, as far as it is given out now.
    free: Cards
    #: What will be free within the staging time if those that prepare take nothing.
    soon: Cards
    #: All that is ever given out, as if nobody held any.
    reach: Cards


@dataclass(frozen=True, slots=True)
class Deal:
    """What would become of everybody, were all of them ready."""

    unserved: tuple[Preparing, ...]
    left: Cards


def deal(line: Iterable[Preparing], cards: Cards, table: Table) -> Deal:
    """Give these cards to everybody in turn."""
    unserved = []
    for one in _in_turn(line):
        left = take_gpus(one.needs, cards)
        if left is None:
            unserved.append(one)
        cards = _kept_for(one, cards, left, table, is_ready=True)
    return Deal(tuple(unserved), cards)


def admit(needs: Needs, line: Sequence[Preparing], table: Table, staged: int) -> Admission:
    """Decide whether one of these needs may be claimed; at most ``staged`` await busy cards."""
    now = deal(line, table.free, table)
    if take_gpus(needs, now.left) is not None:
        return Admission.NOW
    if len(now.unserved) >= staged:
        return Admission.NO
    lasting = [one for one in line if one.is_long]
    later = deal(lasting, table.soon, table)
    return Admission.NO if take_gpus(needs, later.left) is None else Admission.STAGED


@dataclass(frozen=True, slots=True)
class Grant:
    """One whose turn it is, and the cards among which it may choose."""

    to: Preparing
    among: Cards


def grant(line: Iterable[Preparing], table: Table) -> Grant | None:
    """Return who takes cards now; ask again after each."""
    cards = table.free
    for one in _in_turn(line):
        left = take_gpus(one.needs, cards)
        if one.is_ready and left is not None:
            return Grant(one, cards)
        cards = _kept_for(one, cards, left, table, is_ready=one.is_ready)
    return None


def _in_turn(line: Iterable[Preparing]) -> list[Preparing]:
    return sorted(line, key=lambda one: (not one.is_owed, one.number))


def _kept_for(
    one: Preparing, cards: Cards, left: Cards | None, table: Table, *, is_ready: bool
) -> Cards:
    """Return what those after it may have.

    For one that still prepares nothing is kept: the card would wait for a download. Unless it had
    been ready before, and had to go back.
    """
    if left is not None:
        return left if is_ready or one.is_owed else cards
    if one.is_owed and take_gpus(one.needs, table.reach) is not None:
        of_use = {card.uuid for card in suitable(one.needs, table.reach)}
        return tuple(card for card in cards if card.uuid not in of_use)
    return cards
