"""When a look at a shared environment is spared, and when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.environments import manifest
from runner.environments.base import EnvironmentSpec
from runner.environments.vouched import Vouched
from tests.environments import packages
from tests.environments.conftest import Opener

pytestmark = pytest.mark.anyio

KEPT_OUT = {"kept_out": True}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the environments that are walked over, as that happens."""
    walked: list[Path] = []
    look = manifest.is_unchanged

    def counted(root: Path, known: manifest.Manifest) -> bool:
        walked.append(root)
        return look(root, known)

    monkeypatch.setattr(manifest, "is_unchanged", counted)
    return walked


def test_a_look_lasts_ten_minutes() -> None:
    """After that somebody else than a run may have been there."""
    now = 1000.0
    vouched = Vouched(lambda: now)
    assert not vouched.holds("one")
    vouched.note("one", vouched.changes)
    now += 599
    assert vouched.holds("one")
    now += 2
    assert not vouched.holds("one")


def test_who_is_doubted_is_looked_at_each_time() -> None:
    """No look is remembered of it, from before or after."""
    vouched = Vouched()
    vouched.note("one", vouched.changes)
    vouched.doubt("one")
    assert not vouched.holds("one")
    vouched.note("one", vouched.changes)
    assert not vouched.holds("one")


def test_a_look_during_which_all_was_forgotten_does_not_count() -> None:
    """What was walked over first may have been changed behind the walk."""
    vouched = Vouched()
    before = vouched.changes
    vouched.forget()
    vouched.note("one", before)
    assert not vouched.holds("one")
    vouched.note("one", vouched.changes)
    assert vouched.holds("one")


async def test_runs_that_are_kept_out_share_one_look(
    opener: Opener, looks: list[Path], tmp_path: Path
) -> None:
    """The second attachment believes the first."""
    async with opener(**KEPT_OUT) as environments, environments.lease(spec()) as environment:
        for name in ("first", "second", "third"):
            await environments.attach(environment, tmp_path / name)
    assert looks == [environment.root]


async def test_others_are_looked_after_each_time(
    opener: Opener, looks: list[Path], tmp_path: Path
) -> None:
    """Where the sandbox keeps nobody out, every attachment looks."""
    async with opener() as environments, environments.lease(spec()) as environment:
        for name in ("first", "second"):
            await environments.attach(environment, tmp_path / name)
    assert looks == [environment.root] * 2


async def test_what_an_adopted_run_uses_is_looked_at(
    opener: Opener, reports: list[str], tmp_path: Path
) -> None:
    """Who started it may have kept it from nothing."""
    async with opener(**KEPT_OUT) as environments, environments.lease(spec()) as environment:
        await environments.attach(environment, tmp_path / "first")
        async with environments.pin(environment.key):
            spoil(environment.root)
            await environments.attach(environment, tmp_path / "second")
    assert "changed by an experiment" in " ".join(reports)


async def test_after_a_build_that_ran_code_all_are_looked_at(
    opener: Opener, reports: list[str], shelf: Path, tmp_path: Path
) -> None:
    """A package's code could write wherever the builder may."""
    folder = tmp_path / "shelf"
    packages.source(folder, "handmade", code="pass")
    links = {"find_links": (str(shelf), str(folder))}
    async with (
        opener(**KEPT_OUT, **links) as environments,
        environments.lease(spec()) as environment,
    ):
        await environments.attach(environment, tmp_path / "first")
        spoil(environment.root)
        async with environments.lease(spec("handmade")):
            await environments.attach(environment, tmp_path / "second")
    assert "changed by an experiment" in " ".join(reports)


def spec(requirement: str = "colours==1.0") -> EnvironmentSpec:
    """Return what an experiment wants."""
    return EnvironmentSpec(None, (requirement,), "scope")


def spoil(root: Path) -> None:
    """Write to a file of the shared copy."""
    module = next(root.glob("lib/*/site-packages/colours/__init__.py"))
    module.chmod(0o644)
    module.write_text("VERSION = 'spoilt'\n")
