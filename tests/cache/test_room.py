"""The books: no more is ever granted than there is, whoever asks and whatever was left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.archives.footprint import INODE
from runner.cache.base import Counts, NoRoom
from runner.cache.eviction import Candidate, victims
from runner.cache.locks import SHARED, Lock
from runner.cache.places import Places
from runner.cache.reservation import NoRoomEver, Reservation
from runner.cache.room import ENTRY, OVERHEAD, Room

LIMIT = 1 << 20

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        name=st.text("abcdef", min_size=3, max_size=3),
        key=st.just("k"),
        bytes=st.integers(0, 100),
        used=st.sampled_from([1.0, 2.0, 3.0]),
    ),
    unique_by=lambda one: one.name,
)


@contextmanager
def places() -> Iterator[Places]:
    """Make the directories of a cache."""
    with tempfile.TemporaryDirectory() as directory:
        found = Places(Path(directory) / "cache")
        found.open()
        yield found


@pytest.fixture
def room() -> Iterator[Room]:
    """Return the room of one daemon."""
    with places() as found:
        yield Room(found, LIMIT, Counts())


def kept(room: Room, key: str, size: int) -> str:
    """Keep an entry that takes ``size`` bytes more than the least; return its name."""
    reservation = Reservation(room.places, room)
    room.begin(reservation, size)
    return room.publish(reservation, key, ENTRY + size)


@given(CANDIDATES, st.integers(-10, 500), st.sets(st.text("abcdef", min_size=3, max_size=3)))
def test_victims_are_the_longest_unused_and_no_more(
    candidates: list[Candidate], missing: int, held: set[str]
) -> None:
    """Enough goes, or all that may; nothing held; nothing that is younger than what stays."""
    going = victims(candidates, missing, held)
    free = [one for one in candidates if one.name not in held]
    assert set(going) <= set(free)
    assert sum(one.bytes for one in going) >= missing or len(going) == len(free)
    assert sum(one.bytes for one in going[:-1]) < max(missing, 1)
    staying = set(free) - set(going)
    assert all(one.used <= other.used for one in going for other in staying)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["take", "keep", "leave"]), st.integers(0, 9)),
        max_size=30,
    )
)
def test_two_daemons_are_never_given_more_than_there_is(
    steps: list[tuple[int, str, int]],
) -> None:
    """Whatever they reserve, keep and give back, all that is granted fits the bound."""
    with places() as found, ExitStack() as stack:
        rooms = [Room(found, LIMIT, Counts()) for _ in range(2)]
        open_: list[list[Reservation]] = [[], []]
        for number, (who, act, amount) in enumerate(steps):
            room, mine = rooms[who], open_[who]
            if act == "take":
                reservation = Reservation(found, room)
                stack.callback(reservation.discard)
                try:
                    room.begin(reservation, 0)
                    reservation.take(amount * 60_000)
                except NoRoom:
                    reservation.discard()
                else:
                    mine.append(reservation)
            elif mine and act == "keep":
                last = mine.pop()
                room.publish(last, f"key{number}", last.amount)
            elif mine:
                mine.pop(0).discard()
            granted = sum(one.amount for both in open_ for one in both)
            entries = sum(one.bytes for one in room.candidates())
            assert OVERHEAD + granted + entries == room.used() <= LIMIT


def test_what_is_removed_counts_until_it_is_gone(room: Room) -> None:
    """Its bytes are on the disk until the last file is removed."""
    name = kept(room, "key", 500_000)
    before = room.used()
    with room._ledger.held():
        dying = room._doom(Candidate(name, "key", ENTRY + 500_000, 0))
    assert dying is not None
    assert room.candidates() == []
    assert room.used() == before
    assert dying.finish()
    assert room.used() == OVERHEAD


def test_a_dead_reservation_counts_until_somebody_needs_its_room(room: Room) -> None:
    """What a killed process wrote is removed first, and only then is its room given away."""
    dead = Reservation(room.places, room)
    room.begin(dead, 700_000)
    (dead.folder / "tree" / "file").write_bytes(bytes(700_000))
    dead.lock.close()  # as the kernel does for the dead
    assert room.used() > 700_000
    alive = Reservation(room.places, room)
    room.begin(alive, 700_000)
    assert not dead.folder.exists()
    assert 700_000 < room.used() < LIMIT
    alive.discard()
    assert room.used() == OVERHEAD


def test_more_than_all_evicts_nothing(room: Room) -> None:
    """What can never fit is told before anything goes for it."""
    kept(room, "key", 1000)
    reservation = Reservation(room.places, room)
    with pytest.raises(NoRoomEver):
        room.begin(reservation, LIMIT)
    reservation.discard()
    assert [one.key for one in room.candidates()] == ["key"]


def test_what_is_locked_is_not_evicted(room: Room) -> None:
    """The next one goes instead; when all are locked there is no room."""
    kept(room, "old", 300_000)
    kept(room, "new", 300_000)
    with Lock(room.places.lock("old")) as old, Lock(room.places.lock("new")) as new:
        old.take(SHARED)
        new.take(SHARED)
        reservation = Reservation(room.places, room)
        with pytest.raises(NoRoom):
            room.begin(reservation, 600_000)
        reservation.discard()
        new.close()
        reservation = Reservation(room.places, room)
        room.begin(reservation, 500_000)
        reservation.discard()
    assert [one.key for one in room.candidates()] == ["old"]


def test_many_small_takes_read_the_books_seldom(room: Room) -> None:
    """Room is taken in steps: a file costs an addition, not a look at the directory."""
    reservation = Reservation(room.places, room)
    room.begin(reservation, 0)
    amounts = set()
    for _ in range(100):
        reservation.take(INODE)
        amounts.add(reservation.amount)
    assert len(amounts) < 10
    reservation.discard()


def test_a_torn_number_is_nothing(room: Room) -> None:
    """What a power cut left of a reservation does not stop the books."""
    (room.places.reservations / "torn").write_bytes(b"\0" * 20)
    assert room.used() == OVERHEAD
    room.sweep()
    assert list(room.places.reservations.iterdir()) == []
