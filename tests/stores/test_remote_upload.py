"""Uploads: whole or not at all, in bounded memory, with nothing left open."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from runner.blocking import Interrupted, Stop
from runner.errors import LeaseLost, StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied, ObjectInfo, unasked
from runner.stores.remote.client import NotDone
from runner.stores.remote.memory import Memory
from runner.stores.remote.retrying import Plan
from runner.stores.remote.upload import Upload
from tests.stores.in_memory import AT, InMemory, Once, Stall

PLAN = Plan(first=0.001, longest=0.01, patience=2.0)
PART = 8 << 20
LARGE = random.Random(8).randbytes(4 * PART + 12_345)  # noqa: S311 - no secret


def stored(
    client: InMemory,
    body: bytes,
    stop: Stop | None = None,
    permitted: Callable[[], None] = unasked,
) -> ObjectInfo:
    """Write an object in pieces that fit in no part."""
    with closing(Upload(client, AT, stop or Stop(), PLAN, permitted=permitted)) as upload:
        for start in range(0, len(body), 999_983):
            upload.write(body[start : start + 999_983])
        return upload.commit()


@pytest.mark.parametrize("size", [0, 1, PART])
def test_what_fits_in_a_part_is_one_request(size: int) -> None:
    """There are thousands of small objects to one large one."""
    client = InMemory()
    info = stored(client, LARGE[:size])
    assert client.asked == [("put", 0)]
    assert client.objects[AT].body == LARGE[:size]
    assert info.size == size


@pytest.mark.parametrize("size", [PART + 1, 2 * PART, 4 * PART + 12_345])
def test_a_large_object_is_made_of_parts(size: int) -> None:
    """It appears once all are there, and its description is what the store says later."""
    client = InMemory()
    info = stored(client, LARGE[:size])
    assert client.objects[AT].body == LARGE[:size]
    assert client.objects[AT].info == info
    assert client.count("put_part") == -(-size // PART)
    assert client.uploads == {}


def test_parts_go_in_order_where_the_store_wants_that() -> None:
    """One at a time, then."""
    client = InMemory(parts_in_any_order=False)
    stored(client, LARGE)
    places = [place for operation, place in client.asked if operation == "put_part"]
    assert places == sorted(places)
    assert client.most_at_once == 1


@pytest.mark.parametrize("operation", ["put", "begin", "put_part", "complete"])
def test_a_failed_request_is_made_again(operation: str) -> None:
    """Only that one: parts that arrived are not sent again."""
    client = InMemory(trouble=Once(operation, StoreUnavailable("503"), times=2))
    body = LARGE[:10] if operation == "put" else LARGE
    stored(client, body)
    assert client.objects[AT].body == body
    parts = 0 if operation == "put" else 5
    assert client.count("put_part") == parts + (2 if operation == "put_part" else 0)


def test_a_part_whose_answer_was_lost_is_sent_again() -> None:
    """The store has it once."""
    client = InMemory(trouble_after=Once("put_part", StoreUnavailable("reset")))
    stored(client, LARGE)
    assert client.objects[AT].body == LARGE


def test_an_upload_completed_with_its_answer_lost_is_found() -> None:
    """The upload is gone at the second try because the first one succeeded."""
    client = InMemory(trouble_after=Once("complete", StoreUnavailable("reset")))
    info = stored(client, LARGE)
    assert client.objects[AT].info == info
    assert client.objects[AT].body == LARGE


def test_an_upload_that_the_store_forgot_is_no_success() -> None:
    """An older object of the same name is not taken for ours."""
    client = InMemory()
    client.store(AT, LARGE[::-1])

    def forget(operation: str, _: int) -> None:
        if operation == "complete":
            client.uploads.clear()

    client.trouble = forget
    with pytest.raises(StoreUnavailable, match="forgotten"):
        stored(client, LARGE)
    assert client.objects[AT].body == LARGE[::-1]


def test_a_part_that_is_refused_ends_the_upload() -> None:
    """The producer hears why, and the parts that arrived are gone."""
    client = InMemory(trouble=Once("put_part", AccessDenied("expired")))
    with pytest.raises(AccessDenied, match="expired"):
        stored(client, LARGE)
    assert client.uploads == {}
    assert AT not in client.objects


def test_without_a_commit_there_is_nothing() -> None:
    """A producer that fails leaves neither object nor parts: the abort is made until it holds."""
    client = InMemory(aborts_unsure=2)
    with closing(Upload(client, AT, Stop(), PLAN)) as upload:
        upload.write(LARGE)
    assert client.uploads == {}
    assert client.objects == {}
    assert client.count("abort") == 3


def test_what_cannot_be_aborted_is_handed_on() -> None:
    """Somebody has to remember it."""
    client, left = InMemory(), list[tuple[Location, str]]()
    client.trouble = Once("abort", AccessDenied("no right to delete"))
    with closing(
        Upload(client, AT, Stop(), PLAN, left_behind=lambda *what: left.append(what))
    ) as upload:
        upload.write(LARGE)
    assert left == [(AT, next(iter(client.uploads)))]


@pytest.mark.parametrize("operation", ["put", "put_part", "complete"])
def test_a_stop_ends_requests_that_wait(operation: str) -> None:
    """No thread, no part and no object is left."""
    client, stall, stop = InMemory(), Stall(), Stop()

    def trouble(asked: str, _: int) -> None:
        if asked == operation:
            stall.wait()

    client.trouble = trouble

    def set_when_reached() -> None:
        stall.reached.wait()
        stop.set()

    stopper = threading.Thread(target=set_when_reached)
    stopper.start()
    with pytest.raises(Interrupted):
        stored(client, LARGE[:10] if operation == "put" else LARGE, stop)
    stopper.join()
    assert client.uploads == {}
    assert client.objects == {}


def test_an_upload_that_just_begins_when_the_stop_comes_is_aborted() -> None:
    """Its id is awaited for a moment, for nobody else would ever know it."""
    client, stop = InMemory(), Stop()
    client.trouble_after = lambda *_: None

    def trouble(asked: str, _: int) -> None:
        if asked == "begin":
            stop.set()

    client.trouble = trouble
    with pytest.raises(Interrupted):
        stored(client, LARGE, stop)
    assert client.count("begin") == 1
    assert client.uploads == {}


def test_a_slow_store_holds_the_producer_back() -> None:
    """The memory is bounded, whatever is written."""
    memory, seen = Memory(shared=2 * PART), list[int]()
    client = InMemory(trouble=lambda *_: seen.append(memory.used))
    with closing(Upload(client, AT, Stop(), PLAN, memory)) as upload:
        upload.write(LARGE)
        upload.commit()
    assert client.objects[AT].body == LARGE
    assert max(seen) <= 2 * PART
    assert memory.used == 0


def test_an_object_of_too_many_parts_is_refused() -> None:
    """It says so when the parts are used up, and takes them away."""
    client = InMemory()
    client.most_parts = 2
    with pytest.raises(StoreUnavailable, match="too large"):
        stored(client, LARGE)
    assert client.uploads == {}


# ----------------------------------------------------------------------------- who may publish


def yes() -> None:
    """Permit it."""


@pytest.mark.parametrize("last_part_publishes", [False, True])
def test_it_is_asked_when_nothing_but_the_appearing_is_left(*, last_part_publishes: bool) -> None:
    """Behind the last part, before that only where the object appears with it."""
    client = InMemory(parts_in_any_order=False)
    client.last_part_publishes = last_part_publishes
    stored(client, LARGE, permitted=lambda: client.asked.append(("permitted", 0)))
    asked = [operation for operation, _ in client.asked]
    assert asked.count("permitted") == 1
    last = "put_part" if last_part_publishes else "complete"
    assert asked[asked.index("permitted") + 1 :] == (
        [last, "complete"] if last_part_publishes else [last]
    )


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_each_try_is_asked_for(size: int) -> None:
    """A store that is away for a minute is a minute in which another may have taken over."""
    client, asked = InMemory(), list[str]()
    operation = "put" if size == 10 else "complete"
    client.trouble = Once(operation, StoreUnavailable("503"), times=2)

    def permitted() -> None:
        asked.append("may I")
        if len(asked) == 3:
            raise LeaseLost("another has it by now")

    with pytest.raises(LeaseLost):
        stored(client, LARGE[:size], permitted=permitted)
    assert client.objects == {}
    assert client.uploads == {}


@pytest.mark.parametrize("operation", ["put", "complete"])
@pytest.mark.parametrize("is_new", [True, False])
def test_an_answer_that_was_lost_is_no_conflict(operation: str, *, is_new: bool) -> None:
    """The second try finds its condition broken by the first, which has made the object."""
    client = InMemory(trouble_after=Once(operation, StoreUnavailable("reset")))
    if not is_new:
        client.store(AT, b"before")
    body = LARGE[:10] if operation == "put" else LARGE
    info = stored(client, body, permitted=yes)
    assert client.objects[AT].body == body
    assert client.objects[AT].info == info


@pytest.mark.parametrize("operation", ["put", "complete"])
def test_a_store_without_conditions_is_written_all_the_same(operation: str) -> None:
    """A result that might come too late is better than none: to have asked must do."""
    client = InMemory()
    client.trouble = Once(operation, NotDone("501"))
    body = LARGE[:10] if operation == "put" else LARGE
    stored(client, body, permitted=yes)
    assert client.objects[AT].body == body


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_a_key_that_may_not_read_writes_all_the_same(size: int) -> None:
    """What the object is now cannot be known then."""
    client = InMemory(trouble=Once("head", AccessDenied("write only")))
    client.store(AT, b"before")
    stored(client, LARGE[:size], permitted=yes)
    assert client.objects[AT].body == LARGE[:size]


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_an_object_that_was_deleted_meanwhile_is_not_revived(size: int) -> None:
    """Whoever deletes a result has seen to it; the next try finds nothing, and writes."""
    client = InMemory()
    client.store(AT, b"before")
    with pytest.raises(StoreUnavailable, match="replaced by somebody else"):
        stored(client, LARGE[:size], permitted=client.objects.clear)
    assert client.objects == {}
    assert client.uploads == {}
    stored(client, LARGE[:size], permitted=yes)
    assert client.objects[AT].body == LARGE[:size]
