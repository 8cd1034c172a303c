"""The store over a client: the contract, and what the engine adds to it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import AccessDenied, Conflict, NotFound
from tests.contracts.stores import StoreContract, everything
from tests.stores.in_memory import AT, InMemory, MemoryStore, Once, Stall

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * (4 << 12) * 10 + b"end"


class TestRemoteStore(StoreContract):
    """The contract, without a network."""

    @pytest.fixture
    def client(self) -> InMemory:
        """Return the objects."""
        return InMemory()

    @pytest.fixture
    async def store(self, client: InMemory) -> AsyncIterator[MemoryStore]:
        """Return a store of the objects."""
        async with MemoryStore(client) as store:
            yield store

    @pytest.fixture
    async def other(self, client: InMemory) -> AsyncIterator[MemoryStore]:
        """Return another store of them."""
        async with MemoryStore(client) as store:
            yield store

    @pytest.fixture
    def location(self) -> Location:
        """Return a key."""
        return AT


def large(stream: BinaryIO) -> None:
    """Produce an object of several parts."""
    stream.write(LARGE)


async def test_the_client_is_made_when_it_is_needed_and_closed_at_the_end() -> None:
    """Once, however many calls need it."""
    client = InMemory()
    async with MemoryStore(client) as store:
        assert store.made == 0
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(store.delete, AT)
        assert store.made == 1
    assert client.is_closed


async def test_a_conditional_write_whose_answer_was_lost_is_known_again() -> None:
    """The second try hears that somebody was faster: it was we."""
    client = InMemory(trouble_after=Once("put", StoreUnavailable("reset")))
    async with MemoryStore(client) as store:
        info = await store.put_if(AT, b"ours", None)
        assert info == await store.stat(AT)
        client.trouble_after = Once("put", StoreUnavailable("reset"))
        assert (await store.put_if(AT, b"next", info.version)) == await store.stat(AT)


async def test_another_writers_object_is_not_taken_for_ours() -> None:
    """The answer was lost, and the object is not what we wrote."""
    client = InMemory()

    def trouble(operation: str, _: int) -> None:
        if operation == "put":
            client.trouble = lambda *_: None
            client.store(AT, b"that")
            raise StoreUnavailable("reset")

    client.trouble = trouble
    async with MemoryStore(client) as store:
        with pytest.raises(Conflict, match="exists already"):
            await store.put_if(AT, b"this", None)


async def test_a_public_bucket_is_read_although_the_keys_are_denied() -> None:
    """The keys are for another bucket; they are not tried there twice."""
    private, public = InMemory(), InMemory()
    private.trouble = Once("get", AccessDenied("no right"), times=10**9)
    public.store(AT, b"public")
    async with MemoryStore(private, public) as store:
        for _ in range(3):
            assert await store.read(AT, everything) == b"public"
    assert len(private.asked) == 1
    assert public.is_closed


async def test_in_a_bucket_of_both_kinds_the_keys_are_tried_again() -> None:
    """One public object in it does not hide those that only the keys may read."""
    private, public = InMemory(), InMemory()
    private.trouble = Once("get", AccessDenied("no right"), times=1)
    public.store(AT, b"public")
    other = replace(AT, key="other")
    private.store(other, b"private")
    async with MemoryStore(private, public) as store:
        assert await store.read(AT, everything) == b"public"
        public.trouble = Once("get", AccessDenied("anonymous"), times=10**9)
        assert await store.read(other, everything) == b"private"


async def test_what_nobody_may_read_is_denied_for_the_first_reason() -> None:
    """The sentence about the keys helps, not the one about their absence."""
    private, public = InMemory(), InMemory()
    private.trouble = Once("head", AccessDenied("the token has expired"), times=10**9)
    public.trouble = Once("head", AccessDenied("anonymous"), times=10**9)
    async with MemoryStore(private, public) as store:
        with pytest.raises(AccessDenied, match="the token has expired"):
            await store.stat(AT)


async def test_an_upload_that_could_not_be_aborted_is_aborted_later() -> None:
    """When the store is used again, or closed."""
    client = InMemory()

    def fail(stream: BinaryIO) -> None:
        large(stream)
        raise LookupError

    async with MemoryStore(client) as store:
        for rescue in (0, 1):
            client.trouble = Once("abort", AccessDenied("not now"))
            with pytest.raises(LookupError):
                await store.write(AT, fail)
            assert len(client.uploads) == 1
            if rescue == 0:
                await store.write(AT, lambda _: None)
                assert client.uploads == {}
    assert client.uploads == {}


@pytest.mark.parametrize("operation", ["head", "get", "put_part"])
async def test_a_cancelled_call_leaves_a_connection_on_which_nothing_comes(operation: str) -> None:
    """It does not wait for a timeout: the connection is cut from the event loop."""
    client, stall = InMemory(), Stall()
    client.store(AT, LARGE)

    def trouble(asked: str, _: int) -> None:
        if asked == operation:
            stall.wait()

    client.trouble = trouble
    async with MemoryStore(client) as store, anyio.create_task_group() as group:
        match operation:
            case "head":
                group.start_soon(store.stat, AT)
            case "get":
                group.start_soon(store.read, AT, everything)
            case _:
                group.start_soon(store.write, AT, large)
        await anyio.to_thread.run_sync(stall.reached.wait)
        group.cancel_scope.cancel()
    assert client.uploads == {}


async def test_reads_and_writes_go_on_while_records_wait() -> None:
    """A stuck transfer never delays a claim record: eight of them are a store's most."""
    client, gate = InMemory(), threading.Event()
    client.store(AT, b"x")

    def reading(_: int) -> None:
        gate.wait(30)

    client.reading = reading
    async with MemoryStore(client) as store, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(store.read, AT, everything)
        other = Location("s3", "store", "bucket", "record")
        await store.put_if(other, b"beat", None)
        with pytest.raises(NotFound):
            await store.stat(Location("s3", "store", "bucket", "none"))
        gate.set()
