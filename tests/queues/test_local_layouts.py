"""Local queues as StudioML's own clients write and read them."""

from __future__ import annotations

import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.contracts.queues import body_of, received
from tests.queues.conftest import OpenBroker

pytestmark = pytest.mark.anyio

HALF = b'{"experiment": {"key": "slow", '
OTHER_HALF = b'"args": []}}'


@contextmanager
def soft_lock(directory: Path) -> Iterator[None]:
    """Hold ``lock.lock`` as filelock's SoftFileLock does: it exists while it is held."""
    lock = directory / "lock.lock"
    os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_TRUNC))
    try:
        yield
    finally:
        lock.unlink()


def enqueue_049(root: Path, queue: str, data: str) -> None:
    """Send as client 0.0.49 does."""
    directory = root / queue
    directory.mkdir(parents=True, exist_ok=True)
    with soft_lock(directory), (directory / str(uuid.uuid4())).open("w") as file:
        file.write(data)


def dequeue_049(root: Path, queue: str) -> str | None:
    """Take as the worker of 0.0.49 does: every name but its lock is a message."""
    directory = root / queue
    with soft_lock(directory):
        files = [name for name in os.listdir(directory) if name != "lock.lock"]  # noqa: PTH208 - as it does
        if not files:
            return None
        first = min(files, key=lambda name: (directory / name).stat().st_mtime)
        data = (directory / first).read_text()
        (directory / first).unlink()
        return data


def enqueue_044(root: Path, data: str) -> None:
    """Send as client 0.0.44 does, its marker included."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "is_active.queue").write_text("")
    with (root / str(uuid.uuid4())).open("w") as file:
        file.write(data)


def listed_044(root: Path) -> list[Path]:
    """List messages as the worker of 0.0.44 does."""
    found = glob.glob(f"{root}/*")  # noqa: PTH207 - as it does: hidden names are left out
    return [Path(path) for path in found if Path(path) != root / "is_active.queue"]


def publish_go(root: Path, queue: str, data: bytes) -> None:
    """Send as the Go publisher does: written in a directory of its own, renamed into the queue."""
    directory = root / queue
    directory.mkdir(mode=0o775, parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:20]
    draft = directory / f"draft-{unique}"
    draft.mkdir()
    (draft / unique).write_bytes(data)
    (draft / unique).rename(directory / unique)
    draft.rmdir()


def date_by_content(root: Path) -> None:
    """Make the message ``1`` older than ``2``, and so on."""
    for path in root.rglob("*-*-*"):
        if path.is_file():
            os.utime(path, (int(path.read_text()), int(path.read_text())))


class Slow:
    """A client that writes one message in place and takes its time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Write without an end."""
        self._file.write(data)

    def close(self) -> None:
        """End the message."""
        self._file.close()


async def test_a_message_of_client_049_arrives_byte_for_byte(
    root: Path, connect: OpenBroker
) -> None:
    """Its queue is found by its directory, its lock file is no message."""
    data = json.dumps({"experiment": {"key": "k"}})
    async with connect() as broker, aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        assert await anext(sets) == frozenset()
        enqueue_049(root, "local_049", data)
        assert await anext(sets) == {"local_049"}
        queue = await broker.open("local_049")
        delivery = await received(queue)
        assert delivery.message.body == data.encode()
        await delivery.ack()
        assert await queue.depth() == 0
        with soft_lock(root / "local_049"):
            assert await queue.depth() == 0


async def test_a_message_of_client_044_arrives_byte_for_byte(
    root: Path, connect: OpenBroker
) -> None:
    """It lies directly in the root; its marker stays, and so does its queue."""
    data = json.dumps({"experiment": {"key": "k"}})
    async with connect() as broker, aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        assert await anext(sets) == frozenset()
        enqueue_044(root, data)
        assert await anext(sets) == {"local"}
        delivery = await received(await broker.open("local"))
        assert delivery.message.body == data.encode()
        assert listed_044(root) == []
        await delivery.ack()
        assert (root / "is_active.queue").exists()
        enqueue_044(root, data)
        await (await received(await broker.open("local"))).ack()


async def test_the_queue_local_has_both_layouts(root: Path, connect: OpenBroker) -> None:
    """Clients of both releases call their default queue so; the oldest comes first over both."""
    enqueue_044(root, "1")
    enqueue_049(root, "local", "2")
    enqueue_044(root, "3")
    date_by_content(root)
    async with connect() as broker:
        queue = await broker.open("local")
        first, second, third = [await received(queue) for _ in range(3)]
        assert [d.message.body for d in (first, second, third)] == [b"1", b"2", b"3"]
        await first.release(first.lease * 0)
        await second.release(second.lease * 0)
        await third.bury("no reason")
    assert len(listed_044(root)) == 2  # the message, and the directory that client 0.0.49 made
    assert dequeue_049(root, "local") == "2"


async def test_a_message_of_the_go_publisher_arrives(root: Path, connect: OpenBroker) -> None:
    """The directory in which it is written is no message."""
    async with connect() as broker:
        queue = await broker.open("local_go")
        async with anyio.create_task_group() as group:

            async def take() -> None:
                delivery = await received(queue)
                assert delivery.message.body == body_of(1)
                await delivery.ack()

            group.start_soon(take)
            await anyio.sleep(0.05)
            await anyio.to_thread.run_sync(publish_go, root, "local_go", body_of(1))
        publish_go(root, "local_go", body_of(2))
        assert (await received(queue)).message.body == body_of(2)


async def test_the_reference_test_of_two_queues(root: Path, connect: OpenBroker) -> None:
    """Protocol section 9.5: three requests in each of two queues, each handed out exactly once."""
    requests = [
        json.dumps({"Name": f"Iam#{number}", "Value": 111 * number}).encode()
        for number in (1, 2, 3)
    ]
    for request in requests:
        publish_go(root, "queue1", request)
        publish_go(root, "queue2", request)
    async with connect() as broker:
        for name in ("queue1", "queue2"):
            queue = await broker.open(name)
            got = [await received(queue) for _ in requests]
            assert sorted(delivery.message.body for delivery in got) == requests
            assert await queue.depth() == 0


async def test_a_slow_writer_is_waited_for(root: Path, connect: OpenBroker) -> None:
    """A message claimed while its client still writes it is delivered whole."""
    (root / "local_slow").mkdir(parents=True)
    slow = Slow(root / "local_slow" / str(uuid.uuid4()))
    async with connect() as broker:
        queue = await broker.open("local_slow")
        async with anyio.create_task_group() as group:

            async def finish() -> None:
                claims = root / ".studio-runner" / "local_slow" / "claims"
                while not (claims.is_dir() and any(claims.iterdir())):  # noqa: ASYNC110 - a file's news
                    await anyio.sleep(0.01)
                slow.write(HALF)
                await anyio.sleep(0.2)
                slow.write(OTHER_HALF)
                slow.close()

            group.start_soon(finish)
            delivery = await received(queue)
        assert delivery.message.body == HALF + OTHER_HALF
        assert delivery.message.receive_count == 1
        await delivery.ack()


async def test_what_is_no_json_is_delivered_once_nobody_writes_it(
    root: Path, connect: OpenBroker
) -> None:
    """Deciding about broken messages is not the queue's business; an empty one is broken too."""
    directory = root / "local_broken"
    directory.mkdir(parents=True)
    (directory / "a").write_bytes(b"")
    (directory / "b").write_bytes(b"\xff{")
    async with connect() as broker:
        queue = await broker.open("local_broken")
        for _ in range(2):
            delivery = await received(queue)
            assert delivery.message.body in (b"", b"\xff{")
            await delivery.ack()
        assert await queue.depth() == 0


async def test_studioml_workers_see_messages_and_nothing_else(
    root: Path, connect: OpenBroker
) -> None:
    """Held, delayed and buried ones lie where neither worker looks; released ones are theirs."""
    for number in range(4):
        enqueue_049(root, "local_shared", str(number))
        enqueue_044(root, str(number))
    async with connect() as broker:
        for name in ("local_shared", "local"):
            queue = await broker.open(name)
            held, delayed, buried, released = [await received(queue) for _ in range(4)]
            await held.extend()
            await delayed.release(held.lease * 1000)
            await buried.bury("no reason")
            await released.release(held.lease * 0)
            left = released.message.body.decode()
            if name == "local":
                [message] = [path for path in listed_044(root) if path.is_file()]
                assert message.read_text() == left
            else:
                assert dequeue_049(root, name) == left
                assert dequeue_049(root, name) is None


async def test_what_is_no_message_stays_where_it_is(root: Path, connect: OpenBroker) -> None:
    """Links, directories, hidden files, locks and markers are left alone."""
    directory = root / "local_odd"
    directory.mkdir(parents=True)
    (directory / "directory").mkdir()
    (directory / "link").symlink_to("/etc/hostname")
    os.mkfifo(directory / "pipe")
    for name in (".hidden", "lock.lock", "is_active.queue", "half.tmp"):
        (directory / name).write_text("{}")
    before = sorted(path.name for path in directory.iterdir())
    async with connect() as broker:
        queue = await broker.open("local_odd")
        with anyio.move_on_after(0.3) as scope:
            await queue.receive()
        assert scope.cancelled_caught
    assert sorted(path.name for path in directory.iterdir()) == before


async def test_a_date_in_the_future_comes_last(root: Path, connect: OpenBroker) -> None:
    """A client whose clock is wrong still gets its turn."""
    enqueue_049(root, "local_clock", "2")
    [future] = (root / "local_clock").iterdir()
    os.utime(future, (2**33, 2**33))
    enqueue_049(root, "local_clock", "1")
    async with connect() as broker:
        queue = await broker.open("local_clock")
        assert [(await received(queue)).message.body for _ in range(2)] == [b"1", b"2"]


async def test_a_released_message_keeps_its_place(root: Path, connect: OpenBroker) -> None:
    """It is older than what came while it was held."""
    enqueue_049(root, "local_order", "1")
    async with connect() as broker:
        queue = await broker.open("local_order")
        first = await received(queue)
        enqueue_049(root, "local_order", "2")
        await first.release(first.lease * 0)
        assert [message.body for message in await queue.peek(5)] == [b"1", b"2"]
        assert (await received(queue)).message.body == b"1"


async def test_a_message_sent_twice_under_one_name_is_two_messages(
    root: Path, connect: OpenBroker
) -> None:
    """Somebody copies the same file into the queue again while the first is held."""
    directory = root / "local_twice"
    directory.mkdir(parents=True)
    (directory / "exp.json").write_text("1")
    async with connect() as broker:
        queue = await broker.open("local_twice")
        first = await received(queue)
        (directory / "exp.json").write_text("2")
        await first.release(first.lease * 0)
        assert sorted(path.read_text() for path in directory.iterdir()) == ["1", "2"]
        one, two = await received(queue), await received(queue)
        await one.bury("first")
        (directory / "exp.json").write_text("3")
        await two.bury("second")
        await (await received(queue)).bury("third")
        letters = await queue.dead()
        assert [letter.reason for letter in letters] == ["first", "second", "third"]
        assert sorted(letter.message.body for letter in letters) == [b"1", b"2", b"3"]


async def test_deleting_a_queue_aborts_its_waiting_work(root: Path, connect: OpenBroker) -> None:
    """A held message does not bring the queue back, nor is it lost: it is a dead letter."""
    enqueue_049(root, "local_gone", "1")
    enqueue_049(root, "local_gone", "2")
    async with connect() as broker:
        queue = await broker.open("local_gone")
        released, finished = await received(queue), await received(queue)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(root / "local_gone"))
        await finished.ack()
        await released.release(released.lease * 0)
        assert not (root / "local_gone").exists()
        [letter] = await queue.dead()
        assert letter.reason == "its queue was deleted while a runner held it"
        assert await queue.requeue(letter.message.id)
        assert (await received(queue)).message.body == b"1"


async def test_a_queue_made_again_is_served_again(root: Path, connect: OpenBroker) -> None:
    """A receive that waited while the directory was away hears of the new one."""
    enqueue_049(root, "local_again", "1")
    async with connect() as broker:
        queue = await broker.open("local_again")
        await (await received(queue)).ack()
        async with anyio.create_task_group() as group:

            async def take() -> None:
                assert (await received(queue)).message.body == b"2"

            group.start_soon(take)
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(root / "local_again"))
            await anyio.sleep(0.1)
            enqueue_049(root, "local_again", "2")
