"""Saving what a running experiment has made so far."""

from __future__ import annotations

import os
import stat
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import HostFault, RunnerError, StoreUnavailable
from runner.lifecycle.artifacts import checkpoints
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.checkpoints import Checkpoints, append_note, banner
from runner.lifecycle.artifacts.storing import Stored
from runner.lifecycle.metadata.accession import accession_id
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Experiment, Location, Needs, Request
from runner.stores.base import ObjectInfo, Store, unasked
from runner.stores.local import LocalStore
from tests.lifecycle.machine import seen

pytestmark = pytest.mark.anyio


class Counting:
    """A scraper that counts the lines it was given."""

    def __init__(self) -> None:
        self.seen = b""
        self.closed = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.seen += data

    def close(self) -> None:
        """Note that there is no more."""
        self.closed = True

    def document(self) -> bytes:
        """Return how many lines there were, nothing while there is none."""
        lines = self.seen.count(b"\n")
        return b'{"lines": %d}\n' % lines if lines else b""


class Scene:
    """An attempt with its output and metadata artifacts and a store."""

    def __init__(
        self, root: Path, labels: Sequence[str] = ("output", "_metadata", "retval")
    ) -> None:
        self.objects = root / "objects"
        self.objects.mkdir(parents=True)
        self.is_there = True
        self.store: Store = LocalStore((self.objects,))
        self.workspace = Workspace.create(root / "w", "key")
        self.workspace.make("_metadata")
        wanted = {
            label: Artifact(
                label,
                Location("file", "", "", str(self.objects / f"{label}.tar")),
                mutable=True,
                unpack=True,
            )
            for label in labels
        }
        request = Request(Experiment("key", "a.py"), Needs(), wanted)
        self.artifacts = Artifacts(request, self.workspace, self.store_for)
        self.scraper = Counting()
        self.saved: list[dict[str, Stored]] = []
        self.failed: list[RunnerError] = []
        self.news = anyio.Event()
        self.checkpoints = self.every(timedelta(milliseconds=1))

    def every(self, interval: timedelta | None) -> Checkpoints:
        """Return what saves this often."""
        return Checkpoints(
            self.artifacts,
            self.workspace,
            self.scraper,
            accession="host-1",
            interval=interval,
            on_saved=self.on_saved,
            on_failed=self.on_failed,
        )

    async def store_for(self, _: Artifact) -> Store:
        """Return the store."""
        if not self.is_there:
            raise StoreUnavailable("gone for a while")
        return self.store

    async def on_saved(self, stored: Mapping[str, Stored]) -> None:
        """Note what was stored."""
        self.saved.append(dict(stored))
        self.tell()

    async def on_failed(self, error: RunnerError) -> None:
        """Note what failed."""
        self.failed.append(error)
        self.tell()

    def tell(self) -> None:
        """Wake the test."""
        self.news.set()
        self.news = anyio.Event()

    def prints(self, text: str) -> None:
        """Append to the output, as the supervisor does."""
        with self.workspace.log.open("a") as log:
            log.write(text)

    def returns(self, text: str) -> None:
        """Write the result, as the experiment does."""
        self.workspace.make("retval")
        (self.workspace.directory("retval") / "retval").write_text(text)

    @property
    def metadata(self) -> Path:
        """Where the scraped document lies."""
        return self.workspace.directory("_metadata") / "scrape-host-host-1.json"

    @property
    def stored_metadata(self) -> str:
        """What the store has of it."""
        return (self.objects / "metadata" / self.metadata.name).read_text()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Give an attempt that is about to run."""
    return Scene(tmp_path)


async def test_checkpoints_go_on_while_the_experiment_does(scene: Scene) -> None:
    """Each one stores what is new; retval only comes with the last."""
    scene.returns("x")
    scene.prints("one\n")
    async with anyio.create_task_group() as group:
        group.start_soon(scene.checkpoints.keep)
        while not scene.saved:
            await scene.news.wait()
        scene.prints("two\n")
        while b"two" not in scene.scraper.seen or scene.saved[-1]:
            await scene.news.wait()
        group.cancel_scope.cancel()

    assert {label for stored in scene.saved for label in stored} == {"output", "_metadata"}
    assert scene.stored_metadata == '{"lines": 2}\n'
    assert not scene.scraper.closed
    assert list(await scene.checkpoints.last()) == ["retval"]
    assert scene.scraper.closed


async def test_a_run_that_was_stopped_returns_nothing(scene: Scene) -> None:
    """A result that a stopped experiment left half written stays here; the rest is stored."""
    scene.returns("half")
    scene.prints("one\n")

    stored = await scene.checkpoints.last(result=False)

    assert sorted(stored) == ["_metadata", "output"]


async def test_what_could_not_be_stored_is_said_in_the_output_before_the_result(
    tmp_path: Path,
) -> None:
    """Once, in the runner's own words and redacted, whatever else is stored or tried again."""
    scene = Scene(tmp_path, ("output", "modeldir", "retval"))
    scene.returns("x")
    scene.prints("one")
    scene.workspace.make("modeldir")
    os.mkfifo(scene.workspace.directory("modeldir") / "hidden")
    told: list[str] = []

    class Watched(LocalStore):
        async def write(
            self,
            location: Location,
            produce: Callable[[BinaryIO], None],
            *,
            permitted: Callable[[], None] = unasked,
        ) -> ObjectInfo:
            """Note the order."""
            told.append(Path(location.key).name)
            return await super().write(location, produce, permitted=permitted)

    scene.store = Watched((scene.objects,))
    assert "output" in await scene.checkpoints.last(redact=lambda text: text.replace("dd", "**"))
    assert told[-2:] == ["output.tar", "retval.tar"]
    for _ in range(2):
        with tarfile.open(scene.objects / "output.tar") as archive:
            file = archive.extractfile("./output")
            assert file is not None
            first, second = file.read().decode().splitlines()
        assert first == "one"
        assert second.startswith(
            "studio-runner: not all is stored: artifact 'modeldir' lacks 'hi**"
        )
        assert (
            list(await scene.checkpoints.last(redact=lambda text: text.replace("dd", "**"))) == []
        )


async def test_a_failing_checkpoint_is_reported_and_tried_again(scene: Scene) -> None:
    """A store that is away for a while costs checkpoints, not the experiment."""
    scene.prints("one\n")
    scene.is_there = False
    async with anyio.create_task_group() as group:
        group.start_soon(scene.checkpoints.keep)
        while len(scene.failed) < 2:
            await scene.news.wait()
        scene.is_there = True
        while not scene.saved:
            await scene.news.wait()
        group.cancel_scope.cancel()

    assert {type(error) for error in scene.failed} == {StoreUnavailable}
    assert scene.stored_metadata == '{"lines": 1}\n'


async def test_no_interval_means_no_checkpoints(scene: Scene) -> None:
    """The loop ends at once; the last checkpoint is made all the same."""
    checkpoints = scene.every(None)
    scene.prints("one\n")

    await checkpoints.keep()
    assert scene.saved == []
    assert sorted(await checkpoints.last()) == ["_metadata", "output"]


async def test_the_metadata_document_is_private_and_goes_when_it_is_empty(scene: Scene) -> None:
    """Written anew each time, 0600; there is none while there is nothing to say."""
    scene.prints("no line yet")
    await scene.checkpoints.last()
    assert not scene.metadata.exists()

    scene.prints("\n")
    await scene.checkpoints.last()
    assert scene.metadata.read_text() == '{"lines": 1}\n'
    assert stat.S_IMODE(scene.metadata.stat().st_mode) == 0o600

    scene.scraper.seen = b""
    await scene.checkpoints.last()
    assert not scene.metadata.exists()


async def test_output_is_scraped_once_however_often_it_is_looked_at(scene: Scene) -> None:
    """Linear cost: only what is new is fed."""
    for text in ("one\n", "two\n", "three\n"):
        scene.prints(text)
        await scene.checkpoints.last()

    assert scene.scraper.seen == b"one\ntwo\nthree\n"


class Slow(Counting):
    """A scraper that tells when it works, and may be held up at it."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def feed(self, data: bytes) -> None:
        """Work."""
        self._work()
        super().feed(data)


async def test_results_do_not_wait_for_all_that_another_has_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes to be read: they take turns."""
    monkeypatch.setattr(checkpoints, "_TURN", 0.0)
    order, is_queued = list[str](), threading.Event()

    def work_long() -> None:
        order.append("long")
        assert is_queued.wait(10)

    long, short = Scene(tmp_path / "long"), Scene(tmp_path / "short")
    long.scraper, short.scraper = Slow(work_long), Slow(lambda: order.append("short"))
    long.prints("x" * (1 << 20))
    short.prints("y")
    async with anyio.create_task_group() as group:
        group.start_soon(long.every(None).last)
        await seen(lambda: order)
        group.start_soon(short.every(None).last)
        await anyio.wait_all_tasks_blocked()
        is_queued.set()

    assert order.index("short") == 1
    assert len(long.scraper.seen) == 1 << 20


async def test_a_hole_in_the_output_is_not_read(tmp_path: Path) -> None:
    """A file of nothing, however long, is made in no time; reading it would take hours."""
    scene = Scene(tmp_path / "scene", ["_metadata"])
    scene.prints("one\n")
    os.truncate(scene.workspace.log, 8 << 30)
    scene.prints("two\n")

    await scene.checkpoints.last()

    assert len(scene.scraper.seen) < 1 << 20
    assert scene.scraper.seen.count(b"\n") == 2


async def test_a_pipe_in_the_outputs_place_does_not_hold_up_the_results(scene: Scene) -> None:
    """Nor is a link followed: metadata is reported as failed, the rest is stored."""
    os.mkfifo(scene.workspace.log)
    scene.returns("x")

    assert "retval" in await scene.checkpoints.last()
    scene.workspace.log.unlink()
    scene.workspace.log.symlink_to("/etc/passwd")
    await scene.checkpoints.last()

    assert [type(error) for error in scene.failed] == [HostFault, HostFault]
    assert scene.scraper.seen == b""


def test_a_note_starts_on_a_line_of_its_own(tmp_path: Path) -> None:
    """Whatever the output ended with; an empty note changes nothing."""
    log = tmp_path / "output" / "output"
    append_note(log, "")
    assert not log.exists()

    append_note(log, "first\n")
    append_note(log, "second\n")
    assert log.read_text() == "first\nsecond\n"

    log.write_text("cut off")
    append_note(log, banner(2, "gpu-box-1", "host-fault"))
    assert log.read_text().splitlines() == [
        "cut off",
        "--- studio-runner: attempt 2 on gpu-box-1; attempt 1 ended with: host-fault ---",
    ]


def test_a_note_never_follows_a_link(tmp_path: Path) -> None:
    """What the experiment left in the output's place is put aside, not written through."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    log = tmp_path / "output" / "output"
    log.parent.mkdir()
    log.symlink_to(precious)

    append_note(log, "note\n")

    assert precious.read_text() == "precious"
    assert log.read_text() == "note\n"


def test_the_accession_id_is_the_references() -> None:
    """Host and seconds to the base of 62, digits before capitals before small letters."""
    assert accession_id("awsdev", 1546495043.9) == "awsdev-1gew0R"
    assert accession_id("h", 0) == "h-0"


@given(st.integers(10**9, 2**40), st.integers(10**9, 2**40))
def test_accession_ids_sort_by_time(first: int, second: int) -> None:
    """As long as the number of digits is the same: for the next thousand years."""
    ids = accession_id("h", first), accession_id("h", second)
    if len(ids[0]) == len(ids[1]):
        assert (ids[0] < ids[1]) == (first < second)
