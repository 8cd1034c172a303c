"""A kept tree of 20,000 files and 1 GiB until a run has it as its own: attached, and copied.

python benchmarks/attachment.py [--rounds N]

``ready`` is also for other benchmarks: it takes any cache, artifact and store.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tarfile
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import anyio

from runner import log
from runner.cache.base import Cache
from runner.cache.trees import TreeCache
from runner.lifecycle.artifacts.artifacts import Artifacts
from runner.lifecycle.artifacts.lending import Lending
from runner.lifecycle.runs.run import Run, RunSpec
from runner.lifecycle.runs.workspace import Workspace
from runner.model import Artifact, Bytes, Experiment, Location, Needs, Request
from runner.redaction import Redactor
from runner.sandboxes.base import Command
from runner.sandboxes.plain import PlainSandbox
from runner.stores.base import Store
from runner.stores.local import LocalStore

FILES, SIZE = 20_000, 1 << 30
BUDGET = Bytes(1 << 40)


async def ready(
    cache: Cache, store: Store, artifact: Artifact, working_dir: Path, *, overlay: bool
) -> tuple[float, float]:
    """Return the seconds until the artifact is ready for a run, and until the run has read of it.

    The first is what the attempt waits for: stat, lease, attachment (or the copy). The second is
    that with the start of a real supervised process, which lists the tree's directory.
    """
    workspace = Workspace.create(working_dir, "benchmark")
    lending = Lending(cache, workspace, can_overlay=overlay)

    async def store_for(_: Artifact) -> Store:
        return store

    request = Request(Experiment("benchmark", "-m"), Needs(), {artifact.label: artifact})
    begun = time.perf_counter()
    artifacts = Artifacts(request, workspace, store_for, lending=lending)
    await artifacts.fetch(BUDGET)
    fetched = time.perf_counter() - begun
    await _run(workspace, artifacts, cache)
    ran = time.perf_counter() - begun
    await lending.give_back()
    await workspace.remove()
    return fetched, ran


async def _run(workspace: Workspace, artifacts: Artifacts, cache: Cache) -> None:
    sandbox = PlainSandbox()
    sandbox.overlays = True
    command = Command(
        ("/bin/ls", "-U"),
        workspace.code,
        {"PATH": "/bin:/usr/bin"},
        overlays=artifacts.overlays,
        hidden=(cache.root,) if artifacts.overlays else (),
        leases=artifacts.locks,
    )
    spec = RunSpec(
        run_id=uuid.uuid4().hex,
        directory=workspace.private / "run",
        launch=sandbox.launch(command),
        output=workspace.log,
        output_limit=Bytes(1 << 20),
        limits={},
        grace=timedelta(seconds=1),
        orphan_timeout=timedelta(minutes=1),
    )
    run = await Run.start(spec)
    exit_ = await run.wait()
    assert exit_.code == 0, (exit_, workspace.log.read_text())
    await run.forget()


def packed(path: Path) -> None:
    """Write the archive: 20,000 files in 200 directories."""
    piece = os.urandom(SIZE // FILES)
    with tarfile.open(path, "w") as archive:
        for number in range(FILES):
            info = tarfile.TarInfo(f"d{number % 200}/f{number}")
            info.size = len(piece)
            archive.addfile(info, io.BytesIO(piece))


async def measure(root: Path, rounds: int) -> None:
    """Measure and print."""
    archive = root / "data.tar"
    packed(archive)
    artifact = Artifact(
        "workspace", Location("file", "", "", str(archive)), mutable=False, unpack=True
    )
    working_dir = root / "work"
    working_dir.mkdir()
    cache_dir = root / "cache"
    async with LocalStore((root,)) as store, TreeCache(cache_dir, Bytes(8 << 30)) as cache:
        if not PlainSandbox().try_overlays(lower=cache_dir, upper=working_dir):
            print("no overlay can be mounted here")
            return

        async def once(*, overlay: bool) -> tuple[float, float]:
            return await ready(cache, store, artifact, working_dir, overlay=overlay)

        fetched, _ = await once(overlay=True)
        print(f"fetched and unpacked                {fetched * 1000:9.1f} ms")
        await _print("attached, a hit", rounds, lambda: once(overlay=True))
        await _print("copied, a hit", 3, lambda: once(overlay=False))
        small = root / "small.tar"
        with tarfile.open(small, "w") as tar:
            tar.addfile(tarfile.TarInfo("a"))
        artifact = Artifact(
            "workspace", Location("file", "", "", str(small)), mutable=False, unpack=True
        )
        await _print("one file, attached", rounds, lambda: once(overlay=True))
        await _print("one file, copied", rounds, lambda: once(overlay=False))


async def _print(
    what: str, rounds: int, once: Callable[[], Awaitable[tuple[float, float]]]
) -> None:
    os.sync()  # what was written before is not to be waited for by what is measured now
    figures = [await once() for _ in range(rounds)]
    fetched, ran = (statistics.median(column) * 1000 for column in zip(*figures, strict=True))
    print(f"{what:<20} ready in      {fetched:9.1f} ms   and a process ran in {ran:9.1f} ms")


def main() -> None:
    """Measure in a directory of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    log.configure(level="warning", form="text", redactor=Redactor())
    root = Path(tempfile.mkdtemp())
    try:
        anyio.run(measure, root, rounds)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
