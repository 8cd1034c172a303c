"""Uploads through a network that fails: a whole object or none, and no part left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from runner.errors import StoreUnavailable
from runner.stores.base import AccessDenied, Conflict, NotFound
from runner.stores.remote.retrying import Plan
from tests.faults.stage import (
    BACKENDS,
    LARGE,
    MIB,
    PATIENT,
    PLAN,
    Producer,
    Stage,
    content,
    staged,
)
from tests.servers.faults import Fault, Interrupt, LoseAnswer, Refuse, Side, Spoil, Stall, s3_error
from tests.servers.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.service("s3")]

BODY = content(LARGE)
SMALL = content(100_000)
#: Far less than the timeout of a read, and far more than anything takes.
SOON = 45.0


@pytest.fixture(params=BACKENDS)
def stage(request: pytest.FixtureRequest, seaweed_server: S3Server) -> Iterator[Stage]:
    """Return an empty bucket."""
    with staged(request.param, seaweed_server) as stage:
        yield stage


async def write(stage: Stage, body: bytes = BODY, plan: Plan = PLAN) -> int:
    """Write an object through the proxy and return the size that the store told."""
    async with stage.store(plan=plan) as store:
        return (await store.write(stage.location("key"), Producer(body))).size


def stored(stage: Stage) -> bytes:
    """Return the object as it is."""
    return stage.server.get(stage.bucket, "key")


HITCHES: dict[str, Fault] = {
    "503": s3_error("SlowDown", 503),
    "500": s3_error("InternalError", 500),
    "reset": Interrupt(at=MIB, side=Side.REQUEST),
    "lost-answer": LoseAnswer(),
    "spoilt": Spoil(at=MIB, side=Side.REQUEST),
}


@pytest.mark.parametrize("hitch", HITCHES)
async def test_a_part_that_fails_is_sent_again_and_no_other(stage: Stage, hitch: str) -> None:
    """Whatever befalls part 2, it alone is repeated, and the object is whole."""
    rule = stage.proxy.inject(HITCHES[hitch], method="PUT", path="partNumber=2(&|$)")
    assert await write(stage, plan=PATIENT) == LARGE
    assert stored(stage) == BODY
    assert stage.leftovers() == []
    assert len(rule.struck) == 1
    sent = {number: len(tries) for number, tries in stage.parts_sent().items()}
    assert sent.pop("2") == 2
    assert set(sent.values()) == {1}


@pytest.mark.parametrize("hitch", HITCHES)
async def test_a_small_object_that_fails_is_sent_again(stage: Stage, hitch: str) -> None:
    """One request is repeated as a whole."""
    fault = {
        "reset": Interrupt(at=50_000, side=Side.REQUEST),
        "spoilt": Spoil(at=50_000, side=Side.REQUEST),
    }.get(hitch, HITCHES[hitch])
    stage.proxy.inject(fault, method="PUT", path="/key", times=2)
    assert await write(stage, SMALL, PATIENT) == len(SMALL)
    assert stored(stage) == SMALL
    assert len(stage.proxy.asked("PUT", "/key")) == 3


@pytest.mark.parametrize("request_", ["uploads", "uploadId="])
@pytest.mark.parametrize("hitch", ["503", "lost-answer"])
async def test_the_beginning_and_the_end_of_an_upload_may_fail(
    stage: Stage, request_: str, hitch: str
) -> None:
    """Begun twice, one is aborted; completed twice, the second is known to be the first."""
    rule = stage.proxy.inject(HITCHES[hitch], method="POST", path=request_)
    assert await write(stage, plan=PATIENT) == LARGE
    assert len(rule.struck) == 1
    assert stored(stage) == BODY
    if (request_, hitch) != ("uploads", "lost-answer"):  # nobody knows its id
        assert stage.leftovers() == []


async def test_an_abort_is_repeated(stage: Stage) -> None:
    """Refused twice, forgotten all the same."""
    rule = stage.proxy.inject(s3_error("SlowDown", 503), method="DELETE", times=2)

    def produce(stream: BinaryIO) -> None:
        Producer(BODY)(stream)
        raise LookupError("half way")

    async with stage.store() as store:
        with pytest.raises(LookupError):
            await store.write(stage.location("key"), produce)
    assert len(rule.struck) == 2
    assert stage.server.keys(stage.bucket) == []
    assert stage.leftovers() == []


def begun(stage: Stage, key: str) -> None:
    """Begin an upload as a daemon does that is killed then."""
    assert stage.server.request("POST", f"/{stage.bucket}/{key}?uploads=").status == 200


async def test_what_a_killed_daemon_has_begun_is_forgotten_by_the_next(stage: Stage) -> None:
    """Nobody else knows the id, and parts that belong to no object are paid for all the same."""
    begun(stage, "key")
    begun(stage, "key")
    begun(stage, "key-of-another")
    await write(stage, plan=PATIENT)
    assert stored(stage) == BODY
    assert [key for key, _ in stage.server.uploads(stage.bucket)] == ["key-of-another"]


async def test_who_may_not_list_what_was_begun_may_still_store(stage: Stage) -> None:
    """Rights to write are enough."""
    begun(stage, "key")
    denied = s3_error("AccessDenied", 403)
    stage.proxy.inject(denied, method="GET", path="uploads", times=None)
    await write(stage, plan=PATIENT)
    assert stored(stage) == BODY


async def test_rights_that_end_half_way_leave_nothing(stage: Stage) -> None:
    """A denied part ends the upload at once."""
    stage.proxy.inject(
        s3_error("AccessDenied", 403), method="PUT", path="partNumber=3(&|$)", times=None
    )
    with pytest.raises(AccessDenied, match="key"):
        await write(stage)
    assert stage.server.keys(stage.bucket) == []
    assert stage.leftovers() == []


async def test_an_upload_that_the_store_forgot_is_tried_later(stage: Stage) -> None:
    """Somebody's housekeeping aborted it: no object, and not the sender's fault."""
    stage.proxy.inject(
        s3_error("NoSuchUpload", 404), method="PUT", path="partNumber=3(&|$)", times=None
    )
    with pytest.raises(StoreUnavailable, match="key"):
        await write(stage)
    assert stage.server.keys(stage.bucket) == []
    assert stage.leftovers() == []


@pytest.mark.parametrize("body", [SMALL, BODY], ids=["small", "large"])
async def test_a_store_that_goes_down_leaves_what_was_there(stage: Stage, body: bytes) -> None:
    """The old object stays, and an upload that could not be aborted then is aborted later."""
    stage.server.put(stage.bucket, "key", b"old")

    def produce(stream: BinaryIO) -> None:
        Producer(body)(stream)
        stage.proxy.down()

    async with stage.store() as store:
        with pytest.raises(StoreUnavailable, match=r"refused|reach|connect"):
            await store.write(stage.location("key"), produce)
        stage.proxy.up()
        assert stored(stage) == b"old"
        await store.write(stage.location("key"), Producer(SMALL))
    assert stored(stage) == SMALL
    assert stage.leftovers() == []


@pytest.mark.parametrize("at", [0, MIB])
async def test_a_stopped_upload_waits_for_no_server(stage: Stage, at: int) -> None:
    """Parts stall on their way or for their answer; the write ends, and nothing is open."""
    fault = Stall(at=at, side=Side.REQUEST if at else Side.ANSWER)
    rule = stage.proxy.inject(fault, method="PUT", path="partNumber", times=None)
    stage.server.put(stage.bucket, "key", b"old")
    async with stage.store() as store:
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(store.write, stage.location("key"), Producer(BODY))
                await anyio.to_thread.run_sync(stage.proxy.wait_for_fault, rule)
                group.cancel_scope.cancel()
    assert stored(stage) == b"old"
    assert stage.leftovers() == []


async def test_a_stopped_upload_is_begun_by_nobody(stage: Stage) -> None:
    """Stopped while the answer to its beginning stalls, it leaves no object."""
    rule = stage.proxy.inject(Stall(), method="POST", path="uploads", times=None)
    async with stage.store() as store:
        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(store.write, stage.location("key"), Producer(BODY))
                await anyio.to_thread.run_sync(stage.proxy.wait_for_fault, rule)
                group.cancel_scope.cancel()
    assert stage.server.keys(stage.bucket) == []


async def test_a_producer_is_told_as_soon_as_a_part_is_given_up(stage: Stage) -> None:
    """Nobody goes on packing what can no more be stored."""
    stage.proxy.inject(s3_error("AccessDenied", 403), method="PUT", path="partNumber", times=None)
    written = 0

    def produce(stream: BinaryIO) -> None:
        nonlocal written
        piece = bytes(MIB)
        for _ in range(2000):
            stream.write(piece)
            written += 1

    async with stage.store() as store:
        with pytest.raises(AccessDenied):
            await store.write(stage.location("key"), produce)
    assert written < 1000
    assert stage.leftovers() == []


async def test_a_claim_whose_answer_was_lost_is_ours(stage: Stage) -> None:
    """The store says that it exists already, and it is what we wrote: nobody has lost."""
    stage.proxy.inject(LoseAnswer(), method="PUT", path="/key")
    async with stage.store() as store:
        made = await store.put_if(stage.location("key"), b"ours", None)
        assert stored(stage) == b"ours"
        stage.proxy.inject(LoseAnswer(), method="PUT", path="/key")
        changed = await store.put_if(stage.location("key"), b"ours, later", made.version)
        assert stored(stage) == b"ours, later"
        assert await store.stat(stage.location("key")) == changed


async def test_a_claim_that_was_lost_meanwhile_is_lost(stage: Stage) -> None:
    """A refusal, then another's object: Conflict, and the other's stays."""
    refusal = s3_error("SlowDown", 503)

    class Overtaken(Refuse):
        """Refuses, when another has been faster."""

        def before(self) -> None:
            """Be the other."""
            stage.server.put(stage.bucket, "key", b"somebody else's")

    overtaken = Overtaken(refusal.status, refusal.headers, refusal.body)
    rule = stage.proxy.inject(overtaken, method="PUT", path="/key")
    async with stage.store() as store:
        with pytest.raises(Conflict, match="exists already"):
            await store.put_if(stage.location("key"), b"ours", None)
    assert len(rule.struck) == 1
    assert stored(stage) == b"somebody else's"


@pytest.mark.parametrize("body", [SMALL, BODY], ids=["small", "large"])
async def test_a_bucket_that_is_not_there(stage: Stage, body: bytes) -> None:
    """An upload to nowhere names the bucket, at once; SeaweedFS itself would make it."""
    missing = s3_error("NoSuchBucket", 404, "The specified bucket does not exist")
    stage.proxy.inject(missing, path="/key", times=None)
    with pytest.raises(NotFound, match=stage.bucket):
        await write(stage, body)
    assert len([one for one in stage.proxy.exchanges if "/key" in one.target]) == 1
