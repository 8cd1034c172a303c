"""Downloads through a network that fails: the right bytes, or the right error, and never others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.stores.base import NotFound
from runner.stores.remote.parts import RANGE
from runner.stores.remote.retrying import Plan
from tests.faults.stage import BACKENDS, LARGE, MIB, Stage, content, everything, staged
from tests.servers.faults import (
    Fault,
    Interrupt,
    Meanwhile,
    Refuse,
    Spoil,
    Stall,
    Trickle,
    Truncate,
    s3_error,
)
from tests.servers.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.service("s3")]

BODY = content(LARGE)
#: Far less than the timeout of a read, and far more than anything takes.
SOON = 45.0


@pytest.fixture(params=BACKENDS)
def stage(request: pytest.FixtureRequest, seaweed_server: S3Server) -> Iterator[Stage]:
    """Return a bucket with one large object, called ``key``."""
    with staged(request.param, seaweed_server) as stage:
        stage.server.put(stage.bucket, "key", BODY)
        yield stage


async def read(stage: Stage, key: str = "key") -> bytes:
    """Read an object through the proxy."""
    async with stage.store() as store:
        return await store.read(stage.location(key), everything)


def given(stage: Stage) -> int:
    """Return how many bytes of the object came through the proxy."""
    return sum(one.given for one in stage.proxy.asked("GET", "/key") if one.status in {200, 206})


async def test_a_storm_of_503_is_weathered(stage: Stage) -> None:
    """Three refusals of each of the first parts cost nothing but time."""
    storm = stage.proxy.inject(s3_error("SlowDown", 503), path="/key", times=9)
    assert await read(stage) == BODY
    assert len(storm.struck) == 9
    assert given(stage) == LARGE


async def test_a_store_that_names_a_time_is_left_alone_for_it(stage: Stage) -> None:
    """After ``Retry-After: 1`` nothing is asked for a second."""
    rule = stage.proxy.inject(Refuse(503, {"Retry-After": "1"}), path="/key")
    async with stage.store(plan=Plan()) as store:
        info = await store.stat(stage.location("key"))
    assert info.size == LARGE
    (refused,) = rule.struck
    again = stage.proxy.exchanges[stage.proxy.exchanges.index(refused) + 1]
    assert again.begun - refused.begun >= 1.0


@pytest.mark.parametrize("start", [0, RANGE])
@pytest.mark.parametrize("fault", [Interrupt(at=3 * MIB), Truncate(at=3 * MIB)], ids=repr)
async def test_a_connection_that_ends_in_the_middle_of_a_part(
    stage: Stage, start: int, fault: Fault
) -> None:
    """What has come is not fetched again: the next request begins where the end was."""
    rule = stage.proxy.inject(fault, method="GET", path="/key", start=start)
    assert await read(stage) == BODY
    (broken,) = rule.struck
    assert broken.given == 3 * MIB
    assert given(stage) <= LARGE + 3 * MIB
    if isinstance(fault, Truncate):  # a reset overtakes what was sent before it
        assert start + 3 * MIB in {one.start for one in stage.proxy.asked("GET", "/key")}
        assert given(stage) == LARGE


async def test_many_resets_are_one_after_another_overcome(stage: Stage) -> None:
    """Every answer breaks after 2 MiB; as long as bytes come there is no end of patience."""
    rule = stage.proxy.inject(Interrupt(at=2 * MIB), method="GET", path="/key", times=15)
    assert await read(stage) == BODY
    assert len(rule.struck) == 15


@pytest.mark.parametrize("lie", [False, True])
async def test_a_body_that_ends_early_is_completed(stage: Stage, lie: bool) -> None:  # noqa: FBT001
    """A success with too few bytes is none, whether the length says so or lies."""
    fault = Truncate(at=MIB, lie=lie)
    rule = stage.proxy.inject(fault, method="GET", path="/key", start=RANGE)
    assert await read(stage) == BODY
    assert len(rule.struck) == 1
    assert given(stage) < LARGE + RANGE + MIB


@pytest.mark.parametrize("place", [0, LARGE - 1])
async def test_wrong_bytes_are_never_given_as_the_whole(stage: Stage, place: int) -> None:
    """One bit in 40 MiB is an error that names the digest, and the consumer sees no end."""
    start = place // RANGE * RANGE
    stage.proxy.inject(Spoil(at=place - start), method="GET", path="/key", start=start)
    ended = threading.Event()

    def consume(stream: BinaryIO) -> None:
        everything(stream)
        ended.set()

    async with stage.store() as store:
        with pytest.raises(StoreUnavailable, match=r"md5|digest|checksum|etag"):
            await store.read(stage.location("key"), consume)
        assert not ended.is_set()
        assert await store.read(stage.location("key"), everything) == BODY


async def test_an_object_replaced_between_two_parts_is_never_mixed(stage: Stage) -> None:
    """All of the new one, or an error that says so: never the beginning of one and the other."""
    new = content(LARGE, seed=1)

    def replace() -> None:
        stage.server.put(stage.bucket, "key", new)

    stage.proxy.inject(Meanwhile(replace), method="GET", path="/key", nth=3)
    try:
        assert await read(stage) == new
    except StoreUnavailable as error:
        assert "changed while it was read" in str(error)  # noqa: PT017 - one of two good ends
    assert await read(stage) == new


async def test_an_object_deleted_between_two_parts_is_gone(stage: Stage) -> None:
    """No wait for what will not come back."""

    def remove() -> None:
        stage.server.request("DELETE", f"/{stage.bucket}/key")

    stage.proxy.inject(Meanwhile(remove), method="GET", path="/key", nth=3)
    with pytest.raises((NotFound, StoreUnavailable), match="key"):
        await read(stage)
    with pytest.raises(NotFound, match="key"):
        await read(stage)


async def test_a_trickle_is_patiently_read(stage: Stage) -> None:
    """Slow is no fault while bytes come."""
    small = BODY[: 64 << 10]
    stage.server.put(stage.bucket, "key", small)
    stage.proxy.inject(Trickle(size=4096, pause=0.15), method="GET", path="/key")
    assert await read(stage) == small
    assert len(stage.proxy.asked("GET", "/key")) == 1


@pytest.mark.parametrize("at", [0, MIB])
async def test_a_stopped_download_waits_for_no_server(stage: Stage, at: int) -> None:
    """Every answer stalls, before its head or in its body, and the read is stopped: it ends."""
    rule = stage.proxy.inject(Stall(at=at), method="GET", path="/key", times=None)
    async with stage.store() as store:
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(store.read, stage.location("key"), everything)
                await anyio.to_thread.run_sync(stage.proxy.wait_for_fault, rule)
                group.cancel_scope.cancel()
        await anyio.to_thread.run_sync(
            stage.proxy.wait_for, lambda seen: all(one.is_over for one in seen)
        )


async def test_a_stopped_download_waits_for_no_pause(stage: Stage) -> None:
    """A store that asks for a minute does not hold up who is stopped."""
    rule = stage.proxy.inject(Refuse(503, {"Retry-After": "60"}), path="/key", times=None)
    async with stage.store(plan=Plan()) as store:
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(store.read, stage.location("key"), everything)
                await anyio.to_thread.run_sync(stage.proxy.wait_for_fault, rule)
                group.cancel_scope.cancel()


async def test_a_server_that_goes_down_half_way_and_comes_back(stage: Stage) -> None:
    """Refused connections are tried again; what has come is kept."""

    def fall() -> None:
        stage.proxy.down()
        stage.proxy.up()

    outage = threading.Thread(target=fall, name="outage")
    stage.proxy.inject(Meanwhile(outage.start), method="GET", path="/key", nth=3)
    assert await read(stage) == BODY
    outage.join()
    assert given(stage) < 2 * LARGE


async def test_a_server_that_stays_down_is_unavailable(stage: Stage) -> None:
    """The error says who does not answer, and comes when patience ends."""
    stage.proxy.down()
    with pytest.raises(StoreUnavailable, match=r"refused|reach|connect"):
        await read(stage)
    stage.proxy.up()
