"""What an experiment writes: bounded, whole at both ends, and no full disk ends the run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.errors import OutOfDisk
from runner.lifecycle.runs.run import Run
from runner.model import Cause
from tests.lifecycle.runs import Runs, ended, pieces, python, recorded, runs_below, until

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """A directory for runs, without any left afterwards."""
    async with runs_below(tmp_path) as found:
        yield found


def peak_kib(pid: int) -> int:
    """Return the greatest resident size that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    place.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", str(place)], check=True)


async def test_output_is_appended_to_what_is_there(runs: Runs) -> None:
    """Earlier attempts and the daemon's own lines stay."""
    runs.output.write_text("attempt 1\n")
    await runs.finish(runs.spec(("/bin/echo", "attempt 2"), output_limit=10))
    assert runs.said() == b"attempt 1\nattempt 2\n"


async def test_too_much_output_keeps_both_ends(runs: Runs) -> None:
    """The first and the last part, and between them one line that says how much is missing."""
    code = "for i in range(200_000): print(f'{i:07}')"
    exit_ = await runs.finish(runs.spec(python(code), output_limit=64_000))
    lines = runs.said().split(b"\n")
    notes = [line for line in lines if line.startswith(b"[studio-runner: ")]
    assert lines[0] == b"0000000"
    assert lines[-2] == b"0199999"
    assert len(notes) == 1
    assert f"{exit_.output_cut} bytes were left out".encode() in notes[0]
    assert exit_.output_total == 1_600_000
    kept = len(runs.said()) - len(notes[0]) - 2
    assert kept == exit_.output_total - exit_.output_cut
    assert kept <= 64_000


async def test_a_line_of_100_mb_costs_no_memory(runs: Runs) -> None:
    """A single endless line is bounded like any output, and the supervisor stays small."""
    code = (
        "import os, time",
        "block = b'x' * 1_000_000",
        "for _ in range(100): os.write(1, block)",
    )
    wait = "while not os.path.exists('go'): time.sleep(0.01)"
    spec = runs.spec(python(*code, wait), output_limit=1_000_000)
    run = await Run.start(spec)
    pid = await recorded(run)
    await until(lambda: any(int(name[5:]) > 99_000_000 for name in pieces(run)))
    peak = peak_kib(pid)
    (runs.root / "go").touch()
    exit_ = await ended(run)
    await run.forget()
    assert peak < 25 * 1024
    assert exit_.output_total == 100_000_000
    assert runs.output.stat().st_size < 1_001_000


async def test_output_can_be_followed(runs: Runs) -> None:
    """What an experiment has written is in the file while it runs."""
    run = await Run.start(runs.spec(("/bin/sh", "-c", "echo ready; sleep 600")))
    await runs.says(b"ready\n")
    await run.stop(Cause.CANCELLED)
    await ended(run)
    await run.forget()


@needs_root
async def test_a_full_disk_is_noted_and_does_not_hang_the_run(runs: Runs) -> None:
    """The experiment runs to its end, and the record has its code and says that space lacked."""
    with small_disk(runs.root / "small") as small:
        code = "import sys; sys.stdout.write('x' * 5_000_000); sys.exit(3)"
        spec = runs.spec(
            python(code),
            directory=small / "run",
            output=small / "output",
            output_limit=100_000_000,
        )
        run = await Run.start(spec)
        exit_ = await ended(run)
        assert (exit_.code, exit_.disk_full) == (3, True)
        assert exit_.output_total == 5_000_000
        assert exit_.output_total - exit_.output_cut == (small / "output").stat().st_size
        with pytest.raises(OutOfDisk, match="cannot be started"):
            await Run.start(
                runs.spec(("/bin/true",), directory=small / "next", env={"X": "x" * 300_000})
            )
        await run.forget()


@needs_root
async def test_a_full_disk_keeps_nobody_from_stopping_a_run(runs: Runs) -> None:
    """The space for saying that and how a run ends was taken when it began."""
    with small_disk(runs.root / "small") as small:
        script = "echo ready; sleep 600"
        spec = runs.spec(("/bin/sh", "-c", script), directory=small / "run")
        run = await Run.start(spec)
        await runs.says(b"ready")
        subprocess.run(  # noqa: ASYNC221 - takes a millisecond
            ["/bin/sh", "-c", f"cat /dev/zero > {small}/fill 2> /dev/null"], check=False
        )
        await run.stop(Cause.CANCELLED)
        exit_ = await ended(run)
        await run.forget()
        assert exit_.stopped_for is Cause.CANCELLED
        assert [path.name for path in small.iterdir()] == ["fill"]


async def test_a_directory_can_be_used_again(runs: Runs) -> None:
    """What an earlier run said there about its end is not taken for that of the next."""
    spec = runs.spec(("/bin/sh", "-c", "exit 1"), directory=runs.root / "run")
    first = await Run.start(spec)
    await ended(first)
    first.leave()
    spec = runs.spec(("/bin/sh", "-c", "exit 2"), directory=runs.root / "run")
    assert (await runs.finish(spec)).code == 2
