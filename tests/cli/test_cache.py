"""``studio-runner cache``: with a daemon beside it or without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from runner.cache.base import Filled, Source
from runner.cache.trees import TreeCache
from runner.model import Bytes, Location
from runner.stores.base import ObjectInfo
from tests.cli.conftest import Desk

SIZE = 20_000


def source(name: str) -> Source:
    """Describe an artifact with a signed address."""
    location = Location("https", "host", "", f"{name}.tar?signature=secret")
    return Source(location, ObjectInfo(Bytes(SIZE), "v1"), unpack=True)


async def fill(into: Path, take: Callable[[int], None]) -> Filled:
    """Fetch."""
    await anyio.to_thread.run_sync(take, 2 * SIZE)
    await anyio.to_thread.run_sync((into / "file").write_bytes, bytes(SIZE))
    return Filled(Bytes(SIZE), 1)


@pytest.fixture
def kept(desk: Desk) -> Path:
    """Keep two artifacts, ``new`` used last; return the directory."""
    directory = desk.root / "state" / "cache"

    async def keep() -> None:
        async with TreeCache(directory, Bytes(1 << 30)) as cache:
            for name in ("old", "new"):
                async with cache.lease(source(name), fill):
                    await anyio.sleep(0.01)

    anyio.run(keep)
    return directory


def sources(desk: Desk) -> list[str]:
    """Return where what is kept came from, the last used first."""
    found = json.loads(desk.run("cache", "list", "--json")[1])
    return [one["from"] for one in found["entries"]]


def test_list_shows_what_is_kept(desk: Desk, kept: Path) -> None:
    """Where from, how large, whether it is in use; without what makes an address secret."""
    assert sources(desk) == ["https://host/new.tar", "https://host/old.tar"]
    status, out, err = desk.run("cache", "list")
    assert status == 0
    assert len(out.splitlines()) == 3
    assert "https://host/new.tar\t" in out
    assert "2 kept" in err
    assert "secret" not in out + err + "".join(
        path.read_text() for path in kept.rglob("manifest.json")
    )


def test_there_may_be_no_cache(desk: Desk) -> None:
    """Nothing is kept then, and nothing is made; an empty --cache-dir is said to be empty."""
    for action in ("list", "verify", "prune"):
        assert desk.run("cache", action)[0] == 0
    assert not (desk.root / "state" / "cache").exists()
    status, _, err = desk.run("cache", "list", "--cache-dir=")
    assert status == 2
    assert "--cache-dir is empty" in err


def test_verify_finds_and_removes_damage(desk: Desk, kept: Path) -> None:
    """All right: 0. Damaged: 1, named, gone; then it is all right again."""
    assert desk.run("cache", "verify")[0] == 0
    file = next(kept.rglob("tree/file"))
    file.write_bytes(bytes(SIZE - 1) + b"x")
    status, out, _ = desk.run("cache", "verify", "--json")
    assert status == 1
    results = [one["result"] for one in json.loads(out)]
    assert sorted(results) == ["damaged, removed", "right"]
    assert desk.run("cache", "verify")[0] == 0
    assert len(sources(desk)) == 1


def test_prune_keeps_the_last_used(desk: Desk, kept: Path) -> None:
    """Down to --keep; without it all."""
    del kept
    status, out, _ = desk.run("cache", "prune", "--keep", "60kb", "--json")
    assert (status, json.loads(out)["removed"]) == (0, 1)
    assert sources(desk) == ["https://host/new.tar"]
    assert desk.run("cache", "prune")[1].startswith("1 removed")
    assert sources(desk) == []
    assert desk.run("cache", "prune", "--keep", "much")[0] == 2


def test_what_a_daemon_uses_stays(desk: Desk, kept: Path) -> None:
    """Prune passes over it, verify names it, list says so."""

    async def use() -> None:
        async with (
            TreeCache(kept, Bytes(1 << 30)) as cache,
            cache.lease(source("old"), fill) as lease,
        ):
            assert lease is not None
            await anyio.to_thread.run_sync(beside, lease.root)

    def beside(root: Path) -> None:
        assert desk.run("cache", "prune")[1].startswith("1 removed")
        found = json.loads(desk.run("cache", "list", "--json")[1])
        assert [one["in_use"] for one in found["entries"]] == [True]
        (root / "file").write_bytes(b"damaged")
        status, out, _ = desk.run("cache", "verify")
        assert status == 1
        assert "damaged, in use" in out
        assert root.exists()

    anyio.run(use)
