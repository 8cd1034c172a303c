"""Downloads: in order, whole, resumed where they broke, and never more memory than allowed."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections.abc import Callable
from contextlib import closing

import google_crc32c
import pytest

from runner.blocking import Interrupted, Stop
from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Checksum, NotFound
from runner.stores.remote.checksum import Damaged
from runner.stores.remote.client import Lasting
from runner.stores.remote.download import Download
from runner.stores.remote.memory import Memory
from runner.stores.remote.retrying import Plan
from runner.wires import here
from tests.stores.in_memory import AT, InMemory, Once, Stall, md5

PLAN = Plan(first=0.001, longest=0.01, patience=2.0)
PART = 16 << 20
#: How large the parts are that it was uploaded in.
SENT = 8 << 20
LARGE = random.Random(7).randbytes(5 * PART + 12_345)  # noqa: S311 - no secret
SMALL = LARGE[:100_000]


def stored(body: bytes, checksum: Checksum | None = None, at: Location = AT) -> InMemory:
    """Return a store of one object."""
    client = InMemory()
    client.store(at, body, checksum)
    return client


def fetched(client: InMemory, at: Location = AT) -> bytes:
    """Read all of an object."""
    with closing(Download(client, at, Stop(), PLAN)) as download:
        return download.readall()


def parts_digest(body: bytes, size: int) -> Checksum:
    """Return the checksum that S3 gives an object of such parts."""
    parts = [md5(body[start : start + size]) for start in range(0, len(body), size)]
    return Checksum("md5-parts", f"{md5(bytes.fromhex(''.join(parts)))}-{len(parts)}")


def test_a_small_object_takes_one_request() -> None:
    """Thousands of small artifacts are fetched at the speed of the round trip."""
    client = stored(SMALL, Checksum("md5", md5(SMALL)))
    assert fetched(client) == SMALL
    assert client.asked == [("get", 0)]


def test_an_empty_object_is_read() -> None:
    """No bytes are an object, too."""
    assert fetched(stored(b"", Checksum("md5", md5(b"")))) == b""


def test_a_large_object_arrives_in_order() -> None:
    """Parts are fetched side by side, each once, and come out as they lie in the object."""
    client = stored(LARGE, Checksum("md5", md5(LARGE)))
    with closing(Download(client, AT, Stop(), PLAN)) as download:
        stream = io.BufferedReader(download)
        pieces = list(iter(lambda: stream.read(999_983), b""))
    assert b"".join(pieces) == LARGE
    assert sorted(place for _, place in client.asked) == [n * PART for n in range(6)]


@pytest.mark.parametrize("broken_at", [0, 3 << 20, PART, 2 * PART + (5 << 20)])
def test_a_broken_part_is_read_on_from_where_it_broke(broken_at: int) -> None:
    """What arrived is not fetched again."""
    client = stored(LARGE, Checksum("md5", md5(LARGE)))
    left = [1]

    def reading(place: int) -> None:
        if place == broken_at and left and left.pop():
            raise StoreUnavailable("reset")

    client.reading = reading
    assert fetched(client) == LARGE
    assert client.count("get") == 7
    assert client.asked.count(("get", broken_at)) >= 1


def test_an_answer_that_ends_early_is_read_on() -> None:
    """A body that is short although its status is good is no end of the object."""
    client = stored(SMALL, Checksum("md5", md5(SMALL)))
    client.cuts = [60_000, 70_000]
    assert fetched(client) == SMALL
    assert client.asked == [("get", 0), ("get", 60_000), ("get", 70_000)]


@pytest.mark.parametrize(
    "checksum",
    [
        Checksum("md5", md5(b"else")),
        Checksum("sha256", "0" * 64),
        Checksum("crc32c", "00000000"),
        Checksum("md5-parts", f"{md5(b'else')}-11"),
    ],
    ids=lambda checksum: checksum.algorithm,
)
@pytest.mark.parametrize("body", [LARGE, SMALL], ids=["large", "small"])
def test_a_wrong_digest_withholds_the_end(body: bytes, checksum: Checksum) -> None:
    """Nobody gets to the end of an object that is not what the store says it has."""
    if checksum.algorithm == "md5-parts" and body is SMALL:
        checksum = Checksum("md5-parts", checksum.digest.replace("-11", "-1"))
    got: list[int] = []
    buffer = memoryview(bytearray(1 << 20))

    def read_all(download: Download) -> None:
        while count := download.readinto(buffer):
            got.append(count)

    client = stored(body, checksum)
    with closing(Download(client, AT, Stop(), PLAN)) as download, pytest.raises(Damaged):
        read_all(download)
    assert sum(got) < len(body)


@pytest.mark.parametrize(
    "checksum",
    [
        Checksum("sha256", hashlib.sha256(LARGE).hexdigest()),
        Checksum("crc32c", f"{google_crc32c.value(LARGE):08x}"),
        parts_digest(LARGE, SENT),
        None,
    ],
    ids=["sha256", "crc32c", "md5-parts", "none"],
)
def test_a_right_digest_lets_all_through(checksum: Checksum | None) -> None:
    """Every kind of digest that stores give is followed."""
    assert fetched(stored(LARGE, checksum)) == LARGE


def test_a_blobstore_key_beats_what_the_store_says() -> None:
    """The client named the object after its content; a store may have damaged and re-hashed it."""
    at = Location("s3", "store", "bucket", f"blobstore/{hashlib.sha256(SMALL).hexdigest()}.tar")
    assert fetched(stored(SMALL, at=at), at) == SMALL
    with pytest.raises(Damaged, match="sha256"):
        fetched(stored(b"x" + SMALL[1:], Checksum("md5", md5(b"x" + SMALL[1:])), at=at), at)


def test_parts_of_unknown_size_are_compared_by_length_alone() -> None:
    """Another digest would prove nothing then."""
    client = stored(LARGE, Checksum("md5-parts", f"{md5(b'else')}-7"))
    assert fetched(client) == LARGE


@pytest.mark.parametrize("size", [len(LARGE), len(SMALL)])
def test_an_object_replaced_before_a_byte_was_given_is_read_anew(size: int) -> None:
    """The consumer gets the new one, whole."""
    client = stored(LARGE[:size], Checksum("md5", md5(LARGE[:size])))
    new = LARGE[:size][::-1]
    left = [1]

    def reading(place: int) -> None:
        if not place and left and left.pop():
            client.store(AT, new, Checksum("md5", md5(new)))
            raise StoreUnavailable("reset")

    client.reading = reading
    assert fetched(client) == new


def test_an_object_replaced_later_is_unavailable_for_now() -> None:
    """Half of one version and half of another is nothing anybody wants."""
    client = stored(LARGE)
    with closing(Download(client, AT, Stop(), PLAN, Memory(shared=0))) as download:
        assert download.read(10) == LARGE[:10]
        client.store(AT, LARGE[::-1])
        with pytest.raises(StoreUnavailable, match="was changed while it was read"):
            download.readall()


@pytest.mark.parametrize("body", [LARGE, SMALL], ids=["large", "small"])
def test_a_server_without_ranges_gives_all_in_one_answer(body: bytes) -> None:
    """Its one answer is the stream."""
    client = stored(body, Checksum("md5", md5(body)))
    client.knows_ranges = False
    assert fetched(client) == body
    assert client.count("get") == 1


def test_an_object_of_unknown_length_ends_where_its_answer_ends() -> None:
    """Servers that make an archive on the fly do not know how long it will be."""
    client = stored(LARGE)
    client.knows_ranges = client.knows_sizes = False
    assert fetched(client) == LARGE


def test_what_is_not_there_is_said_when_it_is_opened() -> None:
    """The consumer is not even called."""
    with pytest.raises(NotFound):
        Download(InMemory(), AT, Stop(), PLAN)


def test_a_store_that_stays_down_is_given_up() -> None:
    """Patience ends when nothing moved for as long as the plan says."""
    client = stored(SMALL)
    client.trouble = Once("get", StoreUnavailable("down"), times=10**9)
    with pytest.raises(StoreUnavailable, match="down"):
        Download(client, AT, Stop(), Plan(first=0.001, longest=0.01, patience=0.5))
    assert client.count("get") > 1


def test_lasting_trouble_is_not_tried_again() -> None:
    """Nobody mends a certificate within minutes."""
    client = stored(SMALL)
    client.trouble = Once("get", Lasting("not trusted"), times=10**9)
    with pytest.raises(Lasting):
        Download(client, AT, Stop(), PLAN)
    assert client.count("get") == 1


@pytest.mark.parametrize("stalled_at", [0, PART, 4 * PART])
def test_a_stop_ends_reads_that_wait(stalled_at: int) -> None:
    """Whichever thread waits for the network, its connection is cut; no thread is left."""
    client, stall, stop = stored(LARGE), Stall(), Stop()

    def reading(place: int) -> None:
        if place == stalled_at:
            stall.wait()

    client.reading = reading
    _stopping(stall, stop, lambda: _drain(client, stop))


def test_a_stop_ends_a_request_that_is_not_answered() -> None:
    """The opening request, too."""
    client, stall, stop = stored(LARGE), Stall(), Stop()
    client.trouble = lambda *_: stall.wait()
    _stopping(stall, stop, lambda: _drain(client, stop))


def _drain(client: InMemory, stop: Stop) -> None:
    with closing(Download(client, AT, stop, PLAN)) as download:
        download.readall()


def _stopping(stall: Stall, stop: Stop, act: Callable[[], None]) -> None:
    def set_when_reached() -> None:
        stall.reached.wait()
        stop.set()

    stopper = threading.Thread(target=set_when_reached)
    stopper.start()
    with pytest.raises(Interrupted):
        act()
    stopper.join()


def test_a_consumer_may_leave_early() -> None:
    """What was on its way is ended, and all memory is free again."""
    memory = Memory()
    with closing(Download(stored(LARGE), AT, Stop(), PLAN, memory)) as download:
        assert download.read(5) == LARGE[:5]
    assert memory.used == 0


def test_slow_consumers_take_no_memory_from_others() -> None:
    """With all shared memory held by those who do not read on, one more still gets through."""
    memory = Memory(shared=2 * PART)
    client = stored(LARGE)
    idle = [Download(client, AT, Stop(), PLAN, memory) for _ in range(3)]
    try:
        for each in idle:
            assert each.read(5) == LARGE[:5]
        with closing(Download(client, AT, Stop(), PLAN, memory)) as busy:
            assert busy.readall() == LARGE
        assert memory.used <= 2 * PART
        for each in idle:
            assert each.readall() == LARGE[5:]
        assert here() is None
    finally:
        for each in idle:
            each.close()
    assert memory.used == 0
