"""Google's store and plain web servers through a network that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.model import Location
from runner.stores.base import Account, StoreOptions
from runner.stores.gcs.store import GcsStore
from runner.stores.http.store import HttpStore
from runner.stores.remote.parts import RANGE
from tests.faults.stage import LARGE, MIB, PLAN, Producer, content, everything
from tests.servers.fake_gcs import GcsServer
from tests.servers.faults import (
    Fault,
    Interrupt,
    LoseAnswer,
    Meanwhile,
    Refuse,
    Side,
    Spoil,
    Stall,
    Truncate,
)
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.anyio

BODY = content(LARGE)
#: Far less than the timeout of a read, and far more than anything takes.
SOON = 45.0


class Google(GcsStore):
    """The store with less patience."""

    plan = PLAN


class Web(HttpStore):
    """The store with less patience."""

    plan = PLAN


@pytest.fixture
def google(gcs_server: GcsServer) -> Iterator[Proxy]:
    """Stand before Google's store."""
    with Proxy(("127.0.0.1", gcs_server.port)) as proxy:
        yield proxy


@pytest.fixture
def web(seaweed_server: S3Server, public_bucket: str) -> Iterator[tuple[Proxy, Location]]:
    """Stand before a server that gives one large object to everybody."""
    seaweed_server.put(public_bucket, "key", BODY)
    with Proxy(("127.0.0.1", seaweed_server.port)) as proxy:
        yield proxy, Location("http", proxy.host, "", f"{public_bucket}/key")


@asynccontextmanager
async def google_store(proxy: Proxy) -> AsyncIterator[GcsStore]:
    """Open the store behind the proxy."""
    async with Google.for_account(Account("gs", proxy.url), StoreOptions()) as store:
        yield store


async def fetched(location: Location) -> bytes:
    """Fetch by HTTP."""
    options = StoreOptions(http_private_hosts=("127.0.0.1",))
    async with Web.for_account(Account("http"), options) as store:
        return await store.read(location, everything)


READING: dict[str, Fault] = {
    "503": Refuse(503),
    "429": Refuse(429),
    "reset": Interrupt(at=MIB),
    "cut": Truncate(at=MIB),
    "lie": Truncate(at=MIB, lie=True),
}
WRITING: dict[str, Fault] = {
    "503": Refuse(503),
    "reset": Interrupt(at=MIB, side=Side.REQUEST),
    "lost-answer": LoseAnswer(),
}


@pytest.mark.service("gcs")
@pytest.mark.parametrize("hitch", READING)
async def test_google_is_read_whatever_happens_on_the_way(
    google: Proxy, gcs_bucket: str, hitch: str
) -> None:
    """The right bytes, and little more than once."""
    where = Location("gs", "", gcs_bucket, "key")
    async with google_store(google) as store:
        await store.write(where, Producer(BODY))
        google.clear()
        rule = google.inject(READING[hitch], method="GET", times=4)
        assert await store.read(where, everything) == BODY
    assert len(rule.struck) == 4
    assert sum(one.given for one in google.asked("GET") if one.status < 300) < LARGE + 5 * MIB


@pytest.mark.service("gcs")
async def test_wrong_bytes_from_google_are_refused(google: Proxy, gcs_bucket: str) -> None:
    """The checksum of the whole differs."""
    where = Location("gs", "", gcs_bucket, "key")
    async with google_store(google) as store:
        await store.write(where, Producer(BODY))
        google.inject(Spoil(at=MIB), method="GET", start=RANGE)
        with pytest.raises(StoreUnavailable, match=r"crc32c|md5"):
            await store.read(where, everything)
        assert await store.read(where, everything) == BODY


@pytest.mark.service("gcs")
@pytest.mark.parametrize(
    ("hitch", "nth"),
    # fake-gcs-server keeps a part twice that is sent twice; Google does not.
    [("503", 1), ("503", 2), ("503", 4), ("reset", 2), ("reset", 4), ("lost-answer", 1)],
)
async def test_google_is_written_whatever_happens_on_the_way(
    google: Proxy, gcs_bucket: str, hitch: str, nth: int
) -> None:
    """The beginning, a part, or a later one: the object is whole."""
    where = Location("gs", "", gcs_bucket, "key")
    rule = google.inject(WRITING[hitch], method="(POST|PUT)", nth=nth)
    async with google_store(google) as store:
        info = await store.write(where, Producer(BODY))
        assert info.size == LARGE
        assert await store.read(where, everything) == BODY
    assert len(rule.struck) == 1


@pytest.mark.service("gcs")
async def test_a_stopped_upload_to_google_leaves_nothing(
    google: Proxy, gcs_server: GcsServer, gcs_bucket: str
) -> None:
    """Parts stall, the write is stopped, and there is no object."""
    where = Location("gs", "", gcs_bucket, "key")
    rule = google.inject(Stall(at=MIB, side=Side.REQUEST), method="PUT", times=None)
    async with google_store(google) as store:
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(store.write, where, Producer(BODY))
                await anyio.to_thread.run_sync(google.wait_for_fault, rule)
                group.cancel_scope.cancel()
    assert gcs_server.keys(gcs_bucket) == []


@pytest.mark.service("s3")
@pytest.mark.parametrize("hitch", READING)
async def test_a_web_server_is_read_whatever_happens_on_the_way(
    web: tuple[Proxy, Location], hitch: str
) -> None:
    """With ranges, all that has come is kept."""
    proxy, where = web
    rule = proxy.inject(READING[hitch], method="GET", times=4)
    assert await fetched(where) == BODY
    assert len(rule.struck) == 4
    assert sum(one.given for one in proxy.asked("GET") if one.status < 300) < LARGE + 5 * MIB


@pytest.mark.service("s3")
async def test_a_page_that_changes_while_it_is_read_is_never_mixed(
    web: tuple[Proxy, Location], seaweed_server: S3Server, public_bucket: str
) -> None:
    """All of the new one, or an error."""
    proxy, where = web
    new = content(LARGE, seed=1)
    replace = Meanwhile(lambda: seaweed_server.put(public_bucket, "key", new))
    proxy.inject(replace, method="GET", nth=3)
    try:
        assert await fetched(where) == new
    except StoreUnavailable as error:
        assert "changed while it was read" in str(error)  # noqa: PT017 - one of two good ends


@pytest.mark.service("s3")
async def test_a_stopped_fetch_waits_for_no_web_server(web: tuple[Proxy, Location]) -> None:
    """Every answer stalls in its body."""
    proxy, where = web
    rule = proxy.inject(Stall(at=MIB), method="GET", times=None)
    with anyio.fail_after(SOON):
        async with anyio.create_task_group() as group:
            group.start_soon(fetched, where)
            await anyio.to_thread.run_sync(proxy.wait_for_fault, rule)
            group.cancel_scope.cancel()
