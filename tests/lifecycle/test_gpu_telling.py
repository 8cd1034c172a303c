"""An operator is told of a withheld card once, and once of its return."""

from __future__ import annotations

import pytest

from runner.lifecycle.gpus.health import RETURNING, Kind, Withheld
from runner.lifecycle.gpus.telling import CALM, DRIVER, PATIENCE, Telling
from runner.model import Bytes, Gpu, News

ONE, TWO = (Gpu(f"GPU-{n}", "NVIDIA L4", Bytes(1)) for n in (1, 2))
MINUTE, HOUR = 60.0, 3600.0

Told = list[tuple[News, str]]


def because(kind: Kind) -> Withheld:
    """Return a reason."""
    return Withheld(kind, f"{kind} it is")


class Room:
    """Two cards, looked at when a test wants it."""

    def __init__(self) -> None:
        self._telling = Telling()

    def look(self, now: float, *kinds: Kind | None) -> Told:
        """Have the cards withheld for these reasons; return what is told."""
        whys = dict(zip(("GPU-1", "GPU-2"), kinds, strict=False))
        withheld = {uuid: because(kind) for uuid, kind in whys.items() if kind}
        reports = self._telling.news((ONE, TWO), withheld, now)
        return [(report.news, report.topic) for report in reports]


@pytest.fixture
def room() -> Room:
    """Return cards of which nothing was ever told."""
    return Room()


@pytest.mark.parametrize("kind", [Kind.LOST, Kind.REPAIR, Kind.ECC, Kind.XID])
def test_a_broken_card_is_told_at_once_and_once(room: Room, kind: Kind) -> None:
    """And so is its return."""
    assert room.look(0, kind) == [(News.GPU_WITHHELD, "gpu GPU-1")]
    assert room.look(10, kind) == []
    assert room.look(20) == [(News.RECOVERED, "gpu GPU-1")]
    assert room.look(30) == []


def test_the_sentence_names_the_card_and_the_reason() -> None:
    """For a person who knows neither."""
    (report,) = Telling().news((ONE, TWO), {"GPU-2": because(Kind.ECC)}, 0)
    assert report.text == "GPU-2 (NVIDIA L4) is not given out: ecc it is"


def test_a_card_that_is_worse_is_told_again(room: Room) -> None:
    """But not that one which is back is watched for a while."""
    assert room.look(0, Kind.XID) != []
    assert room.look(1, Kind.LOST) == [(News.GPU_WITHHELD, "gpu GPU-1")]
    assert room.look(2, Kind.XID) == []
    assert room.look(3) == [(News.RECOVERED, "gpu GPU-1")]


def test_foreign_use_is_told_when_it_lasts(room: Room) -> None:
    """Our own runs' memory, and a colleague's short test, are no news."""
    assert room.look(0, Kind.FOREIGN) == []
    assert room.look(PATIENCE[Kind.FOREIGN] - 1, Kind.FOREIGN) == []
    assert room.look(PATIENCE[Kind.FOREIGN] - 0.5) == []
    assert room.look(HOUR, Kind.FOREIGN) == []
    assert room.look(HOUR + PATIENCE[Kind.FOREIGN], Kind.FOREIGN) != []


def test_foreign_use_that_comes_and_goes_is_told_once(room: Room) -> None:
    """Its end is told when the card was left alone for a while."""
    told: Told = []
    for minute in range(0, 120, 2):
        told += room.look(minute * MINUTE, Kind.FOREIGN)
        told += room.look((minute + 1) * MINUTE, Kind.FOREIGN)
        told += room.look((minute + 1) * MINUTE + 30)
    assert told == [(News.GPU_WITHHELD, "gpu GPU-1")]
    end = 120 * MINUTE
    assert room.look(end) == []
    assert room.look(end + CALM[Kind.FOREIGN]) == [(News.RECOVERED, "gpu GPU-1")]


def test_the_wait_for_a_runs_memory_is_never_told() -> None:
    """It happens after every run."""
    telling = Telling()
    for now in (0, HOUR, 2 * HOUR):
        assert list(telling.news((ONE,), {"GPU-1": RETURNING}, now)) == []


def test_a_dead_driver_is_one_story(room: Room) -> None:
    """However many cards it has; a reload of a moment is none."""
    assert room.look(0, Kind.DRIVER, Kind.DRIVER) == []
    assert room.look(PATIENCE[Kind.DRIVER] - 1) == []
    assert room.look(HOUR, Kind.DRIVER, Kind.DRIVER) == []
    later = HOUR + PATIENCE[Kind.DRIVER]
    assert room.look(later, Kind.DRIVER, Kind.DRIVER) == [(News.GPU_WITHHELD, DRIVER)]
    assert room.look(later + 1) == [(News.RECOVERED, DRIVER)]


def test_a_broken_card_stays_told_while_the_driver_is_away(room: Room) -> None:
    """It is not told to be well, nor told anew."""
    assert room.look(0, Kind.ECC) != []
    assert room.look(1, Kind.DRIVER, Kind.DRIVER) == []
    assert room.look(2, Kind.ECC) == []
    assert room.look(3) == [(News.RECOVERED, "gpu GPU-1")]
