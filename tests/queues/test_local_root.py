"""Which queues of a root are taken, and roots that are not as they should be."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runner.errors import LeaseLost, Misconfigured, QueueUnavailable
from runner.queues.local import LocalBroker, inotify
from runner.queues.local.places import Places
from tests.contracts.queues import body_of, received
from tests.queues.conftest import OpenBroker, local_broker

pytestmark = pytest.mark.anyio


async def names_in(broker: LocalBroker) -> frozenset[str]:
    """Return what the broker takes now."""
    async with broker, aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        found: frozenset[str] = await anext(sets)
        return found


def mode_of(path: Path) -> int:
    """Return the permissions of a directory."""
    return path.stat().st_mode & 0o777


@pytest.fixture
def crowded(root: Path) -> Path:
    """Return a root with queues of many names."""
    for name in ("local_a", "local_b", "rmq_c", "local_a_response", "private", ".local_hidden"):
        (root / name).mkdir(parents=True)
    (root / "local_link").symlink_to(root / "private")
    return root


async def test_queues_are_taken_by_their_names(crowded: Path) -> None:
    """Those that StudioML clients make; no answers, nothing hidden, no links."""
    assert await names_in(local_broker(crowded)) == {"local_a", "local_b", "rmq_c"}


async def test_a_mismatch_leaves_queues_out(crowded: Path) -> None:
    """As the original's option of that name."""
    assert await names_in(local_broker(crowded, mismatch="_b$")) == {"local_a", "rmq_c"}


async def test_a_named_queue_is_taken_whatever_its_name(crowded: Path) -> None:
    """The operator knows; a queue that is not there is not taken."""
    broker = local_broker(crowded, match="^local_a$", named=frozenset({"private", "absent"}))
    assert await names_in(broker) == {"local_a", "private"}


async def test_our_own_directory_is_no_queue(root: Path, connect: OpenBroker) -> None:
    """Even when every name is taken."""
    (root / "a").mkdir(parents=True)
    async with connect() as broker:
        await (await broker.open("a")).publish(body_of(1))
    assert await names_in(local_broker(root, match="")) == {"a"}


async def test_a_missing_root_is_made_for_its_user_alone(root: Path) -> None:
    """Messages hold credentials."""
    assert await names_in(local_broker(root)) == frozenset()
    assert mode_of(root) == 0o700


async def test_a_root_that_is_a_file_is_one_clear_sentence(root: Path) -> None:
    """The path is named, and as soon as the file is gone the root is made and used."""
    os.close(os.open(root, os.O_CREAT))
    async with local_broker(root) as broker:
        with pytest.raises(QueueUnavailable, match=f"below {root} cannot be used: File exists"):
            async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
                await anext(sets)
        await anyio.to_thread.run_sync(root.unlink)
        async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
            assert await anext(sets) == frozenset()


async def test_a_root_that_vanishes_has_no_queues_until_it_is_back(
    root: Path,
) -> None:
    """Its runner goes on and finds the new one."""
    (root / "local_a").mkdir(parents=True)
    broker = local_broker(root, poll=0.3)
    async with broker, aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        assert await anext(sets) == {"local_a"}
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(root))
        assert await anext(sets) == frozenset()
        (root / "local_b").mkdir(parents=True)
        assert await anext(sets) == {"local_b"}


async def test_a_state_directory_that_vanishes_is_made_again(
    root: Path, connect: OpenBroker
) -> None:
    """What was held is lost to us, what waits is not."""
    async with connect() as broker:
        queue = await broker.open("local_a")
        await queue.publish(body_of(1))
        held = await received(queue)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(root / ".studio-runner"))
        (root / "local_a" / "message").write_bytes(body_of(2))
        assert (await received(queue)).message.body == body_of(2)
        with pytest.raises(LeaseLost):
            await held.ack()


async def test_what_a_deleted_queue_left_is_removed(root: Path, connect: OpenBroker) -> None:
    """Client 0.0.49 makes a queue for each unnamed submission; nothing of them piles up."""
    async with connect() as broker:
        queue = await broker.open("local_1234")
        await queue.publish(body_of(1))
        await (await received(queue)).ack()
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(root / "local_1234"))
    async with connect() as broker:
        await (await broker.open("local_b")).publish(body_of(1))
        await received(await broker.open("local_b"))
        with anyio.fail_after(30):
            while (root / ".studio-runner" / "local_1234").exists():  # noqa: ASYNC110 - a file's news
                await anyio.sleep(0.01)


async def test_counts_of_messages_that_others_took_are_removed(
    root: Path, connect: OpenBroker
) -> None:
    """A StudioML worker finished a message that we had given back."""
    async with connect() as broker:
        queue = await broker.open("local_a")
        for number in range(2):
            await queue.publish(body_of(number))
        for delivery in [await received(queue), await received(queue)]:
            await delivery.release(timedelta(0))
        taken, left = [message.id for message in await queue.peek(2)]
    (root / "local_a" / taken).unlink()
    async with connect() as broker:
        await (await broker.open("local_b")).publish(body_of(1))
        await received(await broker.open("local_b"))
    counted = list((root / ".studio-runner/local_a/received").iterdir())
    assert [path.name for path in counted] == [left]


@pytest.mark.parametrize("name", ["../elsewhere", "", ".studio-runner", "a/b"])
async def test_a_queue_outside_the_root_is_refused(connect: OpenBroker, name: str) -> None:
    """By the name alone, before anything is touched."""
    async with connect() as broker:
        with pytest.raises(Misconfigured):
            await broker.open(name)


@pytest.mark.parametrize("token", ["", "message", "../message~1", "other~0123"])
async def test_a_token_that_is_none_cannot_be_adopted(connect: OpenBroker, token: str) -> None:
    """A record of another daemon, or one that somebody edited."""
    async with connect() as broker:
        queue = await broker.open("local_a")
        await queue.publish(body_of(1))
        delivery = await received(queue)
        with pytest.raises(LeaseLost):
            await queue.adopt(delivery.message, token)
        await delivery.ack()


async def test_without_inotify_messages_are_found_by_looking(
    connect: OpenBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system that has none, or whose user has used up all instances."""

    def exhausted(_: object) -> None:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(inotify.Inotify, "__init__", exhausted)
    async with connect() as broker, anyio.create_task_group() as group:
        queue = await broker.open("local_a")

        async def take() -> None:
            assert (await received(queue)).message.body == body_of(1)

        group.start_soon(take)
        await anyio.sleep(0.1)
        await queue.publish(body_of(1))


def test_a_queue_that_comes_while_its_state_is_swept_is_prepared(root: Path) -> None:
    """Another runner may just be removing what it takes for the state of a deleted queue."""
    places, is_over = Places.of(root, "local_a"), threading.Event()
    root.mkdir()

    def sweep() -> None:
        while not is_over.wait(0.0002):
            places.remove_state()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(200):
            places.prepare()
    finally:
        is_over.set()
        sweeper.join()


def test_a_root_that_is_gone_is_said(root: Path) -> None:
    """Nothing is tried again for ever."""
    with pytest.raises(FileNotFoundError):
        Places.of(root, "local_a").prepare()


async def test_an_error_in_the_block_arrives_as_it_is(connect: OpenBroker) -> None:
    """The broker's background never wraps somebody else's exception."""

    async def lose() -> None:
        async with connect() as broker:
            await names_of(broker)
            raise LeaseLost

    with pytest.raises(LeaseLost):
        await lose()


async def names_of(broker: LocalBroker) -> frozenset[str]:
    """Start the broker's background."""
    async with aclosing(broker.discover()) as sets:  # type: ignore[type-var]
        found: frozenset[str] = await anext(sets)
        return found


async def test_a_cancelled_block_ends(connect: OpenBroker) -> None:
    """Cancelling the owner of a broker closes it, cancelled once and for all."""
    with anyio.move_on_after(0.2) as scope:
        async with connect() as broker:
            await names_of(broker)
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_delivery_outlives_its_broker(connect: OpenBroker) -> None:
    """A daemon that leaves beats once more, and what ended is still acknowledged."""
    async with connect() as broker:
        queue = await broker.open("local_a")
        await queue.publish(body_of(1))
        await queue.publish(body_of(2))
        first, second = await received(queue), await received(queue)
    await first.extend()
    await first.ack()
    await second.release(second.lease)
    async with connect() as broker:
        assert (await received(await broker.open("local_a"))).message.body == body_of(2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system with 16 pages of memory to fill."""
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_takes_no_message_away(small_disk: Path) -> None:
    """What waits keeps waiting, what is held stays held, and the error is the disk's own."""
    async with local_broker(small_disk, lease=30) as broker:
        queue = await broker.open("local_a")
        await queue.publish(body_of(1))
        await queue.publish(body_of(2))
        held = await received(queue)
        filler = small_disk / ".filler"
        fill(filler)
        with pytest.raises(QueueUnavailable, match="No space left"):
            await queue.receive()
        assert await queue.depth() == 1
        await held.extend()
        await held.ack()
        filler.unlink()
        assert (await received(queue)).message.body == body_of(2)
