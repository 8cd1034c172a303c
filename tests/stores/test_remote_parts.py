"""The sizes of parts, digests of parts, and the memory that parts lie in."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.blocking import Interrupted, Stop
from runner.model import Bytes, Location
from runner.stores.base import Checksum, ObjectInfo
from runner.stores.remote.checksum import Damaged, Verifier, expected
from runner.stores.remote.memory import LARGEST_IN_MEMORY, Memory
from runner.stores.remote.parts import PART, boundaries, part_size
from tests.stores.in_memory import AT, md5

MIB = 1 << 20


def test_ten_thousand_parts_hold_the_largest_object() -> None:
    """S3 has objects of 5 TiB."""
    assert sum(part_size(number) for number in range(1, 10_001)) > 5 << 40


def test_parts_fit_in_the_memory_up_to_fifty_gibibytes() -> None:
    """Beyond that they lie in files."""
    fit = [part_size(n) for n in range(1, 10_001) if part_size(n) <= LARGEST_IN_MEMORY]
    assert sum(fit) > 50 << 30


@given(size=st.integers(1, 1 << 40), first=st.integers(5 * MIB, 5 << 30))
def test_equal_parts_are_found(size: int, first: int) -> None:
    """They add up to the object, and all but the last are alike."""
    count = -(-size // first)
    if count > 10_000:
        return
    sizes = boundaries(size, count, min(first, size))
    assert sizes is not None
    assert sum(sizes) == size
    assert len(sizes) == count
    assert set(sizes[:-1]) <= {first}


@pytest.mark.parametrize("count", [1, 2, 1000, 1001, 3500])
def test_our_own_growing_parts_are_found(count: int) -> None:
    """An object of a terabyte that a runner wrote can be verified by the next."""
    size = sum(part_size(number) for number in range(1, count + 1)) - 17
    sizes = boundaries(size, count, min(PART, size))
    assert sizes is not None
    assert sizes[0] == min(PART, size)
    assert (sum(sizes), len(sizes)) == (size, count)


def test_parts_of_no_rule_are_not_guessed() -> None:
    """Nothing can be verified then."""
    assert boundaries(100 * MIB, 3, 10 * MIB) is None


@given(
    body=st.binary(min_size=1, max_size=2000),
    size=st.integers(100, 700),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=50),
)
def test_a_digest_of_parts_does_not_depend_on_how_the_bytes_come(
    body: bytes, size: int, cuts: list[int]
) -> None:
    """Pieces and parts have nothing to do with each other."""
    parts = [md5(body[n : n + size]) for n in range(0, len(body), size)]
    digest = f"{md5(bytes.fromhex(''.join(parts)))}-{len(parts)}"
    info = ObjectInfo(Bytes(len(body)), "v", Checksum("md5-parts", digest))
    verifier = Verifier(AT, expected(AT, info, lambda: min(size, len(body))))
    rest = memoryview(body)
    while rest:
        for cut in cuts:
            verifier.update(rest[:cut])
            rest = rest[cut:]
    verifier.finish()


def test_the_length_is_always_compared() -> None:
    """Also where there is no digest."""
    verifier = Verifier(AT, expected(AT, ObjectInfo(Bytes(5), "v"), lambda: None))
    verifier.update(memoryview(b"four"))
    with pytest.raises(Damaged, match="4 bytes arrived, the store has 5"):
        verifier.finish()


@pytest.mark.parametrize(
    "key", ["blobstore/abc.tar", f"blobstore/{'0' * 64}.tar/more", f"other/{'0' * 64}.tar"]
)
def test_only_a_digest_in_the_key_is_taken_for_one(key: str) -> None:
    """Other names mean nothing."""
    at = Location("s3", "h", "b", key)
    assert expected(at, ObjectInfo(Bytes(5), "v"), lambda: None).checksum is None


def test_every_transfer_gets_one_buffer_and_a_fair_share() -> None:
    """One that came first gives way as soon as a second one is there."""
    memory, stop = Memory(shared=4 * MIB), Stop()
    with ExitStack() as stack:
        first = stack.enter_context(memory.share(stop))
        taken = [first.take(MIB) for _ in range(5)]
        second = stack.enter_context(memory.share(stop))
        second.take(MIB)
        waiter = threading.Thread(target=lambda: [second.take(MIB) for _ in range(2)])
        waiter.start()
        for buffer in taken[:2]:
            first.give(buffer)
        waiter.join(60)
        assert not waiter.is_alive()
        assert memory.used == 4 * MIB
    assert memory.used == 0


def test_waiting_for_memory_ends_with_the_stop() -> None:
    """The transfer is stopped wherever it is."""
    memory, stop = Memory(shared=0), Stop()
    with memory.share(stop) as share:
        share.take(MIB)
        timer = threading.Timer(0.01, stop.set)
        timer.start()
        with pytest.raises(Interrupted):
            share.take(MIB)
        timer.join()


def test_buffers_are_used_again_while_anything_is_transferred() -> None:
    """Fresh memory would have to be cleared by the system each time."""
    memory = Memory()
    with memory.share(Stop()) as share:
        buffer = share.take(MIB)
        buffer[0] = 7
        share.give(buffer)
        assert share.take(MIB) is buffer


def test_parts_that_are_too_large_for_the_memory_lie_in_a_file() -> None:
    """It has no name and takes no room before it is written to."""
    with Memory().share(Stop()) as share:
        buffer = share.take(2 * LARGEST_IN_MEMORY)
        buffer[-1] = 1
        assert len(buffer) == 2 * LARGEST_IN_MEMORY
        buffer.close()
