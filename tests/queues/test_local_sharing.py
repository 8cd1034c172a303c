"""Several runners on one queue root, some of which die; and users who may not use it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.text import TextReceiveStream

import runner
from tests.contracts.queues import PATIENCE, body_of, kept, received
from tests.queues.conftest import OpenBroker

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("other_runner.py")
NOBODY = 65534


class Other:
    """A runner in another process."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._text = TextReceiveStream(process.stdout)
        self._rest = ""

    async def line(self) -> str:
        """Wait for its next line; empty when it has ended."""
        with anyio.fail_after(PATIENCE):
            while "\n" not in self._rest:
                try:
                    self._rest += await self._text.receive()
                except anyio.EndOfStream:
                    break
        line, _, self._rest = self._rest.partition("\n")
        return line

    async def end(self) -> list[str]:
        """Let it finish and return what it still says."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        lines = []
        while line := await self.line():
            lines.append(line)
        return lines


@asynccontextmanager
async def another(root: Path, name: str, mode: str, *user: str) -> AsyncIterator[Other]:
    """Run ``other_runner.py``, killed when the block ends."""
    home = Path(runner.__file__).parents[1]
    process = await anyio.open_process(
        [sys.executable, PROGRAM, root, name, mode, *user],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        env={**os.environ, "PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    async with process:
        try:
            yield Other(process)
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_killed_holders_message_comes_back(root: Path, connect: OpenBroker) -> None:
    """Nobody gets it while the holder lives; after SIGKILL and a lease somebody does."""
    async with connect() as broker:
        queue = await broker.open("local_shared")
        message_id = await queue.publish(body_of(1))
        async with another(root, "local_shared", "hold") as other:
            assert await other.line() == message_id
            with anyio.move_on_after(2) as scope:  # three leases
                await queue.receive()
            assert scope.cancelled_caught
            other.process.kill()
            delivery = await received(queue)
        assert delivery.message.id == message_id
        assert delivery.message.receive_count == 2


async def test_a_holder_killed_between_claim_and_first_beat_loses_it_too(
    root: Path, connect: OpenBroker
) -> None:
    """A claim without any sign of life is observed for a lease as any other."""
    async with connect() as broker:
        queue = await broker.open("local_shared")
        message_id = await queue.publish(body_of(1))
        claim = root / ".studio-runner/local_shared/claims" / f"{message_id}~0123456789abcdef"
        (root / "local_shared" / message_id).rename(claim)
        assert (await received(queue)).message.id == message_id
        assert not claim.exists()


async def test_two_processes_share_one_queue(root: Path, connect: OpenBroker) -> None:
    """Each message reaches exactly one of them."""
    wanted = {body_of(number).decode() for number in range(60)}
    async with (
        connect() as broker,
        another(root, "local_shared", "drain") as one,
        another(root, "local_shared", "drain") as two,
    ):
        queue = await broker.open("local_shared")
        got: list[str] = []
        complete = anyio.Event()

        async def collect(other: Other) -> None:
            while line := await other.line():
                got.append(line)
                if len(got) == len(wanted):
                    complete.set()

        async with anyio.create_task_group() as group:
            group.start_soon(collect, one)
            group.start_soon(collect, two)
            for body in sorted(wanted):
                await queue.publish(body.encode())
            with anyio.fail_after(PATIENCE):
                await complete.wait()
            group.cancel_scope.cancel()
        assert await queue.depth() == 0
        rest = [*await one.end(), *await two.end()]
    assert sorted([*got, *rest]) == sorted(wanted)


async def test_our_own_files_are_private(root: Path, connect: OpenBroker) -> None:
    """0600 in 0700, the dead letter included, whatever the client gave its file."""
    before = os.umask(0)
    try:
        async with connect() as broker:
            queue = await broker.open("local_private")
            for number in range(2):
                await queue.publish(body_of(number))
            await (await received(queue)).bury("no reason")
            async with kept(await received(queue)):
                state = root / ".studio-runner"
                found = [state, *sorted(state.rglob("*"))]
                directories = {path for path in found if path.is_dir()}
                assert {path.stat().st_mode & 0o777 for path in directories} == {0o700}
                files = {path for path in found if path.is_file() and path.parent.name != "claims"}
                assert len(files) == 4  # the letter, its reason, a beat and a count
                assert {path.stat().st_mode & 0o777 for path in files} <= {0o600, 0o666}
                dead = {path for path in files if path.parent.name == "dead"}
                assert {path.stat().st_mode & 0o777 for path in dead} == {0o600}
    finally:
        os.umask(before)


@pytest.fixture
def others_root() -> Iterator[Path]:
    """Return a root that an ordinary user can reach and read, but not change."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    # not below pytest's own directory, which every start of pytest closes to others
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        (directory / "local_a").mkdir()
        directory.chmod(0o755)
        yield directory


async def test_an_unwritable_root_is_one_clear_sentence(others_root: Path) -> None:
    """Which path, and what the runner's user needs."""
    async with another(others_root, "local_a", "look", str(NOBODY)) as other:
        line = await other.line()
    assert line.startswith(f"QueueUnavailable: the local queues below {others_root} cannot be used")
    assert "Permission denied" in line
    assert str(others_root / ".studio-runner") in line


async def test_an_ordinary_user_serves_a_root_of_its_own(others_root: Path) -> None:
    """Nothing here needs more than ordinary rights."""
    os.chown(others_root, NOBODY, NOBODY)
    os.chown(others_root / "local_a", NOBODY, NOBODY)
    message = others_root / "local_a" / "message"
    message.write_bytes(body_of(1))
    message.chmod(0o644)  # and its owner is another user
    async with another(others_root, "local_a", "hold", str(NOBODY)) as other:
        assert await other.line() == "message"


async def test_a_message_that_may_not_be_read_is_left_alone(others_root: Path) -> None:
    """It does not block the messages behind it, and it stays in the queue."""
    os.chown(others_root, NOBODY, NOBODY)
    os.chown(others_root / "local_a", NOBODY, NOBODY)
    secret, message = others_root / "local_a" / "a-secret", others_root / "local_a" / "message"
    for path in (secret, message):
        path.write_bytes(body_of(1))
    secret.chmod(0o600)
    os.utime(secret, (1, 1))
    async with another(others_root, "local_a", "hold", str(NOBODY)) as other:
        lines = [await other.line()]
        while lines[-1] not in {"message", ""}:
            lines.append(await other.line())
        assert "is left alone until it changes" in "".join(lines[:-1])
    assert secret.exists()
    assert secret.read_bytes() == body_of(1)
