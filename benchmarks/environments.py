"""Environments: a cold build against uv alone, attaching 5,000 files, and importing scikit-learn.

python benchmarks/environments.py [--rounds N]

The packages come from the machine's own index settings (``UV_*`` and certificate variables).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import anyio
import uv
from rich.console import Console
from rich.table import Table

from runner.environments.base import EnvironmentSpec
from runner.environments.places import link_mode
from runner.environments.sources import network_variables
from runner.environments.uv import UvEnvironments
from runner.model import Bytes

LIST = ("numpy", "scikit-learn")
FILES = 5000
LIMIT = Bytes(100 << 30)
#: What the runner takes too for an experiment that asks for no version.
INTERPRETER = Path(sys.executable).resolve()
INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


class Measured(NamedTuple):
    """One row of the table."""

    what: str
    figure: str
    bound: str = ""


def variables() -> dict[str, str]:
    """Return what the installer needs to reach its index from here."""
    index = {name: os.environ[name] for name in INDEX if os.environ.get(name)}
    return {**network_variables(os.environ), **index}


def uv_alone(folder: Path, cache: Path, python: Path, mode: str, lines: list[str]) -> float:
    """Return the seconds of ``uv venv`` and ``uv pip install`` of the same list."""
    program = uv.find_uv_bin()
    environ = {**variables(), "UV_CACHE_DIR": str(cache), "UV_LINK_MODE": mode, "HOME": str(folder)}
    begun = time.perf_counter()
    venv = [program, "venv", "-q", "--no-config", "--python", str(python), str(folder / "venv")]
    subprocess.run(venv, check=True, env=environ)
    into = ["--python", str(folder / "venv" / "bin" / "python")]
    install = [program, "pip", "install", "-q", "--no-config", *into, *lines]
    subprocess.run(install, check=True, env=environ)
    return time.perf_counter() - begun


def opened(folder: Path, cache: Path) -> UvEnvironments:
    """Return a builder, to be entered."""
    return UvEnvironments(folder, limit=LIMIT, uv_cache=cache, extra_variables=variables())


async def ours(folder: Path, cache: Path) -> float:
    """Return the seconds of a lease that builds in a running daemon."""
    async with opened(folder, cache) as environments:
        async with environments.lease(EnvironmentSpec(None, (), "benchmark")):
            pass  # a daemon has looked for interpreters before
        begun = time.perf_counter()
        async with environments.lease(EnvironmentSpec(None, LIST, "benchmark")):
            return time.perf_counter() - begun


def empty(cache: Path) -> None:
    """Forget all downloads."""
    shutil.rmtree(cache, ignore_errors=True)
    (cache / "wheels").mkdir(parents=True)


def settle(cache: Path) -> None:
    """Bring both sides to the same state: nothing to be written, all downloads in memory."""
    os.sync()
    for path in cache.rglob("*"):
        if path.is_file():
            path.read_bytes()


async def pair(here: Path, caches: tuple[Path, Path], *, first: bool) -> tuple[float, float, str]:
    """Return our seconds, uv's, and the link mode; whoever is first pays for what is shared."""
    mode, python = link_mode(caches[1], here), INTERPRETER
    theirs = 0.0
    if not first:
        settle(caches[1])
        theirs = uv_alone(here, caches[1], python, mode, list(LIST))
    settle(caches[0])
    seconds = await ours(here / "ours", caches[0])
    if first:
        settle(caches[1])
        theirs = uv_alone(here, caches[1], python, mode, list(LIST))
    return seconds, theirs, mode


async def cold(folder: Path, rounds: int) -> list[Measured]:
    """Measure a build, with and without its downloads at hand, side by side with uv alone."""
    rows = []
    caches = folder / "cache-ours", folder / "cache-uv"
    for state in ("nothing cached", "downloads cached"):
        pairs = []
        for number in range(rounds):
            here = folder / f"{state}-{number}"
            here.mkdir()
            if state == "nothing cached":
                empty(caches[0])
                empty(caches[1])
            pairs.append(await pair(here, caches, first=number % 2 == 0))
            shutil.rmtree(here)
        built, theirs = (statistics.median(column) for column in list(zip(*pairs, strict=True))[:2])
        # Of each pair, for the two were taken in the same minute: disks have moods.
        ratios = sorted(ours / uvs for ours, uvs, _ in pairs)
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows += [
            Measured(f"cold environment, {state}", f"{built:.2f} s"),
            Measured(f"  uv venv + uv pip install, link mode {pairs[0][2]}", f"{theirs:.2f} s"),
            Measured("  ratio", ratio, "<= 1.3"),
        ]
    return rows


def wheel_of_many_files(folder: Path) -> None:
    """Write a wheel with as many modules as a usual environment has files."""
    info = "crowd-1.0.dist-info"
    with zipfile.ZipFile(folder / "crowd-1.0-py3-none-any.whl", "w") as archive:
        names = [f"crowd/part{n // 50}/module{n}.py" for n in range(FILES)]
        for name in names:
            archive.writestr(name, "x = 1\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: crowd\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: b\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        listed = [*names, f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in listed))


async def attaching(folder: Path, rounds: int) -> list[Measured]:
    """Measure a warm lease and the attachment of an environment of 5,000 files."""
    shelf = folder / "shelf"
    shelf.mkdir()
    wheel_of_many_files(shelf)
    spec = EnvironmentSpec(None, ("crowd",), "benchmark")
    leases, attachments = [], []
    async with UvEnvironments(
        folder / "crowd", limit=LIMIT, find_links=(str(shelf),), no_index=True
    ) as environments:
        for number in range(rounds * 5 + 1):
            begun = time.perf_counter()
            async with environments.lease(spec) as environment:
                leased = time.perf_counter()
                await environments.attach(environment, folder / f"attached-{number}")
                if number:
                    leases.append(leased - begun)
                    attachments.append(time.perf_counter() - leased)
    lease, attach = statistics.median(leases), statistics.median(attachments)
    return [
        Measured("warm lease", f"{lease * 1000:.1f} ms"),
        Measured(f"attach, {FILES} files, unchanged", f"{attach * 1000:.1f} ms", "<= 50 ms"),
    ]


async def importing(folder: Path) -> list[Measured]:
    """Measure the first import of scikit-learn, fresh and after its bytecode was compiled."""
    rows = []
    spec = EnvironmentSpec(None, LIST, "benchmark")
    async with (
        opened(folder / "imports", folder / "cache-ours") as environments,
        environments.lease(spec) as environment,
    ):
        attachment = await environments.attach(environment, folder / "imports-run")
        for what in ("first", "second"):
            begun = time.perf_counter()
            await anyio.run_process([str(attachment.python), "-c", "import sklearn"])
            rows.append(Measured(f"import sklearn, {what}", f"{time.perf_counter() - begun:.2f} s"))
            begun = time.perf_counter()
            await environments.compile_later(environment)
            compiling = time.perf_counter() - begun
            if what == "first":
                rows.append(Measured("  compiling in the background", f"{compiling:.2f} s"))
    return rows


async def main(rounds: int) -> None:
    """Measure all and print one table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = await cold(folder, rounds)
        rows += await attaching(folder, rounds)
        rows += await importing(folder)
    table = Table("environments", "measured", "bound")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    anyio.run(main, parser.parse_args().rounds)
