"""What is left behind by a submission that fails or is interrupted half way."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from runner.client import listings, opening, submitting
from runner.client.access import Access, AnyQueue
from runner.client.message import Submission
from runner.client.publication import Publication
from runner.client.shop import LocalShop
from runner.errors import QueueDenied, QueueUnavailable, RunnerError
from runner.queues.addresses import parse
from tests.client.test_stores import submission

pytestmark = pytest.mark.anyio


class Watched:
    """A queue of which every message is told before it is sent."""

    def __init__(self, queue: AnyQueue, told: Callable[[], None]) -> None:
        self._queue, self._told = queue, told

    async def publish(self, body: bytes) -> str:
        """Tell, and send."""
        self._told()
        return await self._queue.publish(body)


@pytest.fixture
def shop(tmp_path: Path) -> LocalShop:
    """A store of this machine."""
    return LocalShop(tmp_path / "store")


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[AnyQueue]:
    """A local queue."""
    places = {"QUEUE_ROOT": str(tmp_path / "queues"), "STATE_DIR": str(tmp_path / "state")}
    settings, _ = opening.configured({}, places)
    async with Access(settings, {}).queue(parse("local_q", option="queue")) as queue:
        yield queue


def enlisted(shop: LocalShop, count: int = 4) -> list[Submission]:
    """Return submissions that are in their listings."""
    ones = [submission(shop, f"k{number}") for number in range(1, count + 1)]
    return list(submitting.enlist(shop, ones))


def known(shop: LocalShop) -> dict[str, list[str]]:
    """Return the keys that each place has, of the sweep and the project of all."""
    records = shop.root / "studioml-meta"
    return {
        "sweep": [one.key for one in listings.of_sweep(shop, "s")],
        "project": [one.key for one in listings.of_project(shop, "p")],
        "records": sorted(file.name for file in (records / "experiments").glob("*")),
        "projects": sorted(file.name for file in (records / "projects/p").glob("*")),
    }


def all_are(*keys: str) -> dict[str, list[str]]:
    """Return what ``known`` should be."""
    return {name: list(keys) for name in ("sweep", "project", "records", "projects")}


def files(directory: Path) -> list[Path]:
    """Return all that lie anywhere below a directory."""
    return [one for one in directory.rglob("*") if one.is_file()]


def queued(tmp_path: Path) -> list[str]:
    """Return the keys of the messages that wait."""
    files = [file for file in (tmp_path / "queues/local_q").glob("*") if file.is_file()]
    return sorted(json.loads(file.read_bytes())["experiment"]["key"] for file in files)


async def test_an_interruption_comes_between_two_messages(
    tmp_path: Path, shop: LocalShop, queue: AnyQueue
) -> None:
    """The one under way is sent, and counts; the next ones are in no list and have no record."""
    with anyio.CancelScope() as scope:

        def second() -> None:
            if len(publication.ids) == 1:
                scope.cancel()

        publication = Publication(shop, enlisted(shop), dict)
        await publication.publish(Watched(queue, second))  # type: ignore[arg-type]  # it is one
    assert scope.cancelled_caught
    assert queued(tmp_path) == list(publication.ids) == ["k1", "k2"]
    assert known(shop) == all_are("k1", "k2")
    assert publication.said == "only 2 of 4 were queued, up to k2"


@pytest.mark.parametrize("number", [1, 3])
async def test_what_a_broker_refuses_leaves_no_trace(
    tmp_path: Path, shop: LocalShop, queue: AnyQueue, number: int
) -> None:
    """So the same key can be submitted again when the broker is kinder."""

    def refuse() -> None:
        if len(publication.ids) == number - 1:
            raise QueueDenied("no right to send")

    publication = Publication(shop, enlisted(shop), dict)
    with pytest.raises(RunnerError, match="no right to send") as caught:
        await publication.publish(Watched(queue, refuse))  # type: ignore[arg-type]  # it is one
    keys = [f"k{one}" for one in range(1, number)]
    assert queued(tmp_path) == keys
    assert known(shop) == all_are(*keys)
    assert ("only 2 of 4 were queued, up to k2" in str(caught.value)) == (number == 3)


async def test_what_cannot_be_taken_back_is_said(shop: LocalShop, queue: AnyQueue) -> None:
    """A store may be gone by then; the broker's own words come all the same."""

    def lose_the_store() -> None:
        (shop.root / "storage").rename(shop.root / "aside")
        (shop.root / "storage").write_text("")
        raise QueueDenied("no right to send")

    publication = Publication(shop, enlisted(shop), dict)
    with pytest.raises(
        RunnerError, match=r"nothing was queued; .* still lists what was not queued: no right"
    ):
        await publication.publish(Watched(queue, lose_the_store))  # type: ignore[arg-type]  # it is one


async def test_what_may_be_on_the_queue_is_kept(shop: LocalShop, queue: AnyQueue) -> None:
    """The broker fell silent: the message may have come, and its results would be nobody's."""

    def fall_silent() -> None:
        if len(publication.ids) == 1:
            raise QueueUnavailable("no answer")

    publication = Publication(shop, enlisted(shop), dict)
    with pytest.raises(RunnerError, match="up to k1; whether k2 was queued is not known: no answ"):
        await publication.publish(Watched(queue, fall_silent))  # type: ignore[arg-type]  # it is one
    assert known(shop) == all_are("k1", "k2")


async def test_a_record_that_cannot_be_written_stops_the_rest(
    tmp_path: Path, shop: LocalShop, queue: AnyQueue
) -> None:
    """A message follows its record, never the other way round."""
    ones = enlisted(shop)
    (shop.root / "studioml-meta/experiments/k3/taken").mkdir(parents=True)
    with pytest.raises(RunnerError, match=r"only 2 of 4 .* up to k2: the store .* cannot"):
        await Publication(shop, ones, dict).publish(queue)
    assert queued(tmp_path) == ["k1", "k2"]
    assert known(shop)["sweep"] == ["k1", "k2"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of little room."""
    mount = tmp_path / "small"
    mount.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield mount
    subprocess.run(["/bin/umount", str(mount)], check=True)


async def test_what_a_full_disk_does_not_take_is_not_queued(
    shop: LocalShop, small_disk: Path
) -> None:
    """That much is known: no doubt is left, no trace of it, and it can be submitted again."""
    places = {"QUEUE_ROOT": str(small_disk), "STATE_DIR": str(small_disk / "state")}
    settings, _ = opening.configured({}, places)
    async with Access(settings, {}).queue(parse("local_q", option="queue")) as queue:
        await queue.publish(b"{}")
        with (small_disk / "fill").open("wb", 0) as file, suppress(OSError):
            while file.write(b"0" * 1024):
                pass
        with pytest.raises(RunnerError, match=r"^nothing was queued: .*local_q takes.*No space"):
            await Publication(shop, enlisted(shop), dict).publish(queue)
        assert known(shop) == all_are()
        assert len(files(small_disk)) == 2
        (small_disk / "fill").unlink()
        await Publication(shop, enlisted(shop), dict).publish(queue)
    assert known(shop) == all_are("k1", "k2", "k3", "k4")
