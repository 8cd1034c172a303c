"""Code of packages, run by their build, does not see what experiments do not see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.environments.base import EnvironmentSpec
from runner.errors import RequirementsFailed
from runner.sandboxes.plain import PlainSandbox
from tests.contracts.environments import run
from tests.environments import packages
from tests.environments.conftest import NOBODY, Opener

pytestmark = pytest.mark.anyio

#: What a build can find out, left in the package.
SPY = """
import json
found = {{}}
for path in {paths!r}:
    try:
        with open(path) as file:
            found[path] = file.read()
    except OSError as error:
        found[path] = type(error).__name__
try:
    with open({key!r}, "a") as file:
        file.write("spoilt")
except OSError:
    pass
raise SystemExit("SEEN " + json.dumps(sorted(found.values())))
"""


def spec(*requirements: str) -> EnvironmentSpec:
    """Ask for these requirements."""
    return EnvironmentSpec(None, requirements, "somebody")


@pytest.fixture(autouse=True)
def need_hiding() -> None:
    """Skip where this machine can hide nothing."""
    if not PlainSandbox().hides:
        pytest.skip("nothing can be hidden on this machine")


def secrets(root: Path) -> tuple[Path, Path]:
    """Plant two secrets that everybody may read and write, were they to be seen."""
    certs, key = root / "certs", root / "key"
    certs.mkdir()
    for file in (certs / "credentials", key):
        file.write_text("a secret")
        file.chmod(0o666)
    return certs, key


async def test_a_build_reads_no_credential(opener: Opener, shelf: Path, tmp_path: Path) -> None:
    """As the daemon's own user, who may read them."""
    certs, key = secrets(tmp_path)
    paths = [str(certs / "credentials"), str(key)]
    packages.source(shelf, "curious", code=SPY.format(paths=paths, key=str(key)))
    async with opener(hidden=(certs, key)) as environments:
        with pytest.raises(RequirementsFailed) as failed:
            async with environments.lease(spec("curious")):
                pass
    assert "SEEN" in str(failed.value)
    assert "a secret" not in str(failed.value)
    assert key.read_text() == "a secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_a_build_of_another_user_reads_no_credential(opener: Opener, public: Path) -> None:
    """Not even one that is open to everybody, as Kubernetes mounts them."""
    certs, key = secrets(public)
    certs.chmod(0o755)
    shelf = public / "shelf"
    paths = [str(certs / "credentials"), str(key)]
    packages.source(shelf, "curious", code=SPY.format(paths=paths, key=str(key)))
    shelf.chmod(0o755)
    options = {"find_links": (str(shelf),), "uv_cache": None, "build_identity": NOBODY}
    async with opener(root=public / "envs", hidden=(certs, key), **options) as environments:
        with pytest.raises(RequirementsFailed) as failed:
            async with environments.lease(spec("curious")):
                pass
    assert "SEEN" in str(failed.value)
    assert "a secret" not in str(failed.value)
    assert key.read_text() == "a secret"


async def test_a_build_works_in_a_hidden_state_directory(opener: Opener, tmp_path: Path) -> None:
    """What is built and what it is built from lie there, if only by a link, and are found."""
    state, disk = tmp_path / "state", tmp_path / "disk"
    state.mkdir()
    disk.mkdir()
    (state / "envs").symlink_to(disk)
    shelf = tmp_path / "shelf"
    packages.source(shelf, "handmade")
    options = {"root": state / "envs", "uv_cache": None, "hidden": (state,)}
    async with (
        opener(**options) as environments,
        environments.lease(spec("handmade")) as environment,
    ):
        attachment = await environments.attach(environment, tmp_path / "run")
        assert run(attachment, "import handmade; print(handmade.VERSION)", tmp_path) == "1.0"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")
def test_the_veil_gives_up_root(tmp_path: Path) -> None:
    """The program behind it is the user, with no further groups, and gets nothing back."""
    script = Path(sys.modules["runner.supervisor"].__file__ or "").with_name("veil.py")
    (tmp_path / "hidden").mkdir()
    show = "id -u; id -G; grep NoNewPrivs /proc/self/status; ls " + str(tmp_path / "hidden")
    words = ["65534:65534", "0", "1", str(tmp_path / "hidden"), "0", "0", "/bin/sh", "-c", show]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), *words],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.stdout.split() == ["65534", "65534", "NoNewPrivs:", "1"], done.stderr
