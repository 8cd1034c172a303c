"""Packages to install, and a builder that installs from them alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from runner.environments.uv import UvEnvironments
from runner.model import Bytes, Identity
from runner.removal import remove_tree
from tests.environments import packages

#: How long a test waits for another process.
PATIENCE = 60

Opener = Callable[..., AbstractAsyncContextManager[UvEnvironments]]

#: An ordinary user, whom nobody has to make.
NOBODY = Identity(65534, 65534)


async def until(condition: Callable[[], object]) -> None:
    """Return when ``condition`` holds, which another process brings about."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - there is no event of another process to wait for
            await anyio.sleep(0.02)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Return a directory with the packages ``colours`` 1.0 and 2.0."""
    folder = tmp_path / "shelf"
    packages.wheel(folder, "colours", "1.0", commands={"colours": "colours:main"})
    packages.wheel(folder, "colours", "2.0")
    packages.wheel(folder, "shapes", "1.0", requires=("colours",))
    return folder


@pytest.fixture
def reports() -> list[str]:
    """Return the sentences that the builder said."""
    return []


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for what is true for all tests: unpacked wheels, interpreters found."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def opener(tmp_path: Path, shelf: Path, kept: Path, reports: list[str]) -> Opener:
    """Return what opens a builder on ``tmp_path/envs`` that installs from ``shelf`` alone."""

    @contextlib.asynccontextmanager
    async def open_one(**options: Any) -> AsyncIterator[UvEnvironments]:
        given: dict[str, Any] = {
            "limit": Bytes(1 << 30),
            "find_links": (str(shelf),),
            "no_index": True,
            "report": reports.append,
            "uv_cache": kept / "uv",
            **options,
        }
        root = given.pop("root", tmp_path / "envs")
        root.mkdir(exist_ok=True)
        user = given.get("run_identity") or given.get("build_identity")
        memory = kept / f"interpreters-{user.uid if user else os.getuid()}.json"
        if memory.exists():
            shutil.copy(memory, root / "interpreters.json")
        try:
            async with UvEnvironments(root, **given) as opened:
                yield opened
        except BaseException:
            remove_tree(root)  # which pytest cannot, where a test of deep directories fails
            raise
        if (root / "interpreters.json").exists():
            shutil.copy(root / "interpreters.json", memory)

    return open_one


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that other users can pass through, unlike pytest's own."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    folder = Path(tempfile.mkdtemp(prefix="studio-runner-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
