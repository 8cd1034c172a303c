"""The builder on uv keeps the promises of its room, and its own about keys and code."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import structlog.testing

from runner.environments import manifest
from runner.environments.base import Environment, EnvironmentSpec
from runner.environments.sources import network_variables
from runner.environments.uv import UvEnvironments
from runner.errors import (
    BadField,
    HostFault,
    Misconfigured,
    PythonMissing,
    RequirementsFailed,
    Unavailable,
)
from runner.model import Bytes
from runner.removal import remove_tree
from tests.contracts.environments import EnvironmentsContract, run
from tests.environments import packages
from tests.environments.conftest import Opener, until

pytestmark = pytest.mark.anyio


def spec(*requirements: str, scope: str = "us", python: str | None = None) -> EnvironmentSpec:
    """Return what an experiment wants."""
    return EnvironmentSpec(python, requirements, scope)


async def built(environments: UvEnvironments, wanted: EnvironmentSpec) -> Environment:
    """Lease the environment for a moment."""
    async with environments.lease(wanted) as found:
        return found


def installed(environment: Environment) -> set[str]:
    """Return the lines of what an environment holds, pip left out."""
    known = manifest.read(environment.root)
    assert known is not None
    return {line for line in known.packages if not line.startswith("pip")}


class TestUv(EnvironmentsContract):
    """uv keeps the promises of the room."""

    @pytest.fixture
    async def environments(self, opener: Opener) -> AsyncIterator[UvEnvironments]:
        """Return an open builder."""
        async with opener() as opened:
            yield opened

    @pytest.fixture
    def spec(self) -> EnvironmentSpec:
        """Return a spec with the module ``colours``."""
        return spec("colours==1.0")

    @pytest.fixture
    def other(self) -> EnvironmentSpec:
        """Return another spec."""
        return spec("colours==2.0")

    @pytest.fixture
    def failing(self) -> EnvironmentSpec:
        """Return a spec that nobody can install."""
        return spec("nowhere-to-be-found==1.0")


async def test_what_is_not_pinned_is_resolved_and_the_key_is_the_list(opener: Opener) -> None:
    """``colours`` and the exact version that it comes to are one environment."""
    async with opener() as environments:
        loose = await built(environments, spec("colours"))
        exact = await built(environments, spec("Colours == 2.0"))
    assert installed(loose) == {"colours==2.0"}
    assert (exact.key, exact.reused) == (loose.key, True)


async def test_dependencies_are_installed_too(opener: Opener) -> None:
    """A pin that does not name its dependencies gets them."""
    async with opener() as environments:
        found = await built(environments, spec("shapes==1.0"))
    assert installed(found) == {"shapes==1.0", "colours==2.0"}


async def test_directories_that_are_gone_are_this_machines_fault(
    opener: Opener, tmp_path: Path
) -> None:
    """An operator's ``rm -rf`` blames no experiment; one that is done with its own is done."""
    async with opener() as environments:
        async with environments.lease(spec("colours==1.0")) as held:
            root = held.root
            remove_tree(tmp_path / "envs")
            with pytest.raises(HostFault):
                await environments.attach(held, tmp_path / "attached")
        with pytest.raises(HostFault):
            await built(environments, spec("colours==1.0"))
        assert not root.exists()


async def test_what_a_power_cut_left_of_pip_is_copied_anew(opener: Opener) -> None:
    """Every environment gets it: all would fail for requirements that are as they should be."""
    async with opener() as environments:
        first = await built(environments, spec("colours==1.0"))
        (kept,) = (first.root.parents[1] / "pip").glob("*.whl")
        kept.write_bytes(b"")
        assert installed(await built(environments, spec("colours==2.0"))) == {"colours==2.0"}


async def test_a_resolution_is_reused_for_its_time(opener: Opener, shelf: Path) -> None:
    """While it is remembered no index is asked; after that a new version is found."""
    async with opener() as environments:
        await built(environments, spec("colours"))
    _add_secretly(shelf, "3.0")
    async with opener() as environments:
        assert installed(await built(environments, spec("colours"))) == {"colours==2.0"}
    async with opener(resolve_ttl=timedelta(0)) as environments:
        assert installed(await built(environments, spec("colours"))) == {"colours==3.0"}


async def test_a_resolution_of_the_future_is_not_believed(opener: Opener, shelf: Path) -> None:
    """It was remembered before the clock was set back, and would be young for as long as that."""
    async with opener() as environments:
        root = (await built(environments, spec("colours"))).root.parents[1]
    tomorrow = time.time() + 86400
    for file in (root / "resolutions").iterdir():
        os.utime(file, (tomorrow, tomorrow))
    _add_secretly(shelf, "3.0")
    async with opener() as environments:
        assert installed(await built(environments, spec("colours"))) == {"colours==3.0"}


async def test_a_new_package_in_a_local_directory_is_seen_at_once(
    opener: Opener, shelf: Path
) -> None:
    """A changed ``--find-links`` directory is another question."""
    async with opener() as environments:
        await built(environments, spec("colours"))
        packages.wheel(shelf, "colours", "3.0")
        assert installed(await built(environments, spec("colours"))) == {"colours==3.0"}


async def test_a_frozen_list_that_contradicts_itself_is_installed_as_it_is_pinned(
    opener: Opener, shelf: Path, reports: list[str]
) -> None:
    """What worked at the submitter's is not refused for what packages say of each other."""
    packages.wheel(shelf, "picky", "1.0", requires=("colours<2",))
    async with opener() as environments:
        found = await built(environments, spec("picky==1.0", "colours==2.0"))
    assert installed(found) == {"picky==1.0", "colours==2.0"}
    assert "contradict" in reports[0]


async def test_wheels_alone_are_shared_by_all_scopes(opener: Opener) -> None:
    """Nobody's code ran, so everybody may use it."""
    async with opener() as environments:
        ours = await built(environments, spec("colours", scope="us"))
        theirs = await built(environments, spec("colours", scope="them"))
    assert (ours.key, theirs.reused) == (theirs.key, True)


async def test_a_build_that_ran_code_is_shared_within_its_scope_alone(
    opener: Opener, shelf: Path
) -> None:
    """A source distribution could have left anything in the environment."""
    packages.source(shelf, "handmade")
    async with opener() as environments:
        ours = await built(environments, spec("handmade", scope="us"))
        again = await built(environments, spec("handmade", scope="us"))
        theirs = await built(environments, spec("handmade", scope="them"))
    assert (again.key, again.reused) == (ours.key, True)
    assert theirs.key != ours.key


async def test_another_interpreter_is_another_environment(opener: Opener) -> None:
    """The key holds the interpreter; what this machine has decides which are tried."""
    async with opener() as environments:
        keys = []
        for python in ("3.10", "3.11", "3.12"):
            try:
                keys.append((await built(environments, spec("colours", python=python))).key)
            except PythonMissing:
                continue
    if len(keys) < 2:
        pytest.skip("fewer than two of Python 3.10, 3.11 and 3.12 are here")
    assert len(set(keys)) == len(keys)


async def test_other_indexes_are_another_environment(
    opener: Opener, shelf: Path, tmp_path: Path
) -> None:
    """The same list from elsewhere may be something else."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(shelf, elsewhere)
    async with opener(find_links=(str(elsewhere),)) as environments:
        one = await built(environments, spec("colours"))
    async with opener() as environments:
        other = await built(environments, spec("colours"))
    assert one.key != other.key


async def test_python_2_is_refused_in_one_sentence(opener: Opener) -> None:
    """The sender learns what to do instead."""
    async with opener() as environments:
        with pytest.raises(PythonMissing, match=r"^Python 2\.7 is not supported: port") as caught:
            await built(environments, spec(python="2.7"))
    assert "\n" not in str(caught.value)


async def test_a_version_that_is_none_is_refused(opener: Opener) -> None:
    """What stands in the place of a version never becomes an argument."""
    async with opener() as environments:
        with pytest.raises(BadField, match=r"experiment\.pythonver"):
            await built(environments, spec(python="3.11; rm -rf /"))


async def test_the_installers_words_come_without_passwords(opener: Opener, tmp_path: Path) -> None:
    """An index address with a user and a password is shown without them."""
    options = {
        "no_index": False,
        "index_url": "http://joe:sesame@127.0.0.1:9/simple",
        "extra_variables": {"UV_HTTP_RETRIES": "0"},
    }
    async with opener(**options) as environments:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as caught:
            await built(environments, spec("nowhere-to-be-found==1.0"))
    assert "sesame" not in str(caught.value)
    assert "sesame" not in "".join(path.read_text() for path in _small_files(tmp_path / "envs"))


async def test_variables_of_the_build_are_not_given_away(opener: Opener) -> None:
    """``${HOME}`` in a requirement is refused, not expanded into an address of the sender."""
    async with opener() as environments:
        with pytest.raises(BadField, match="not expanded"):
            await built(environments, spec("x @ http://127.0.0.1:9/${HOME}/x-1-py3-none-any.whl"))


async def test_a_build_that_fails_shows_its_last_lines(opener: Opener, shelf: Path) -> None:
    """What a package's own build prints before it dies is in the error, the last lines of it."""
    code = "for n in range(500): print('line', n)\nraise SystemExit('the compiler is missing')"
    packages.source(shelf, "broken", code=code)
    async with opener() as environments:
        with pytest.raises(RequirementsFailed, match="the compiler is missing") as caught:
            await built(environments, spec("broken"))
    assert len(str(caught.value).splitlines()) < 50


async def test_a_build_that_leaves_a_trap_is_removed(
    opener: Opener, shelf: Path, tmp_path: Path
) -> None:
    """Directories deeper than Python's stack: neither this daemon nor the next one falls in."""
    dig = "import os\nos.chdir(os.environ['TMPDIR'])\nfor _ in range(3000):\n"
    code = f"{dig}    os.mkdir('d')\n    os.chdir('d')\nraise SystemExit('dug')"
    packages.source(shelf, "trap", code=code)
    async with opener() as environments:
        with pytest.raises(RequirementsFailed, match="dug"):
            await built(environments, spec("trap==1.0"))
        assert list((tmp_path / "envs" / "staging").iterdir()) == []


async def test_a_package_of_deep_directories_is_refused(opener: Opener, shelf: Path) -> None:
    """Whoever looks at an environment goes down by recursion: no stack is to be run out of."""
    packages.wheel(shelf, "chasm", files={f"chasm/{'d/' * 300}x.py": ""})
    async with opener() as environments:
        with pytest.raises(RequirementsFailed, match="200 directories deep"):
            await built(environments, spec("chasm==1.0"))


async def test_what_a_build_left_in_the_installers_cache_is_no_trap(
    opener: Opener, tmp_path: Path
) -> None:
    """Its code may write there, and the whole is measured and emptied now and then."""
    async with opener(uv_cache=None) as environments:
        here = os.open(tmp_path / "envs" / "uv" / "scopes", os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        with os.fdopen(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 16 << 20)
        os.close(here)
        await environments.give_way(Bytes(1))
        assert list((tmp_path / "envs" / "uv" / "scopes").iterdir()) == []


async def test_unused_environments_go_oldest_first(opener: Opener) -> None:
    """Above the limit the least recently used one is evicted, never a leased one."""
    async with opener() as environments:
        old = await built(environments, spec("colours==1.0"))
        size = manifest.survey(old.root).bytes
        new = await built(environments, spec("colours==2.0"))
        await built(environments, spec("colours==1.0"))
    async with opener(limit=Bytes(size * 5 // 2)) as environments:
        await built(environments, spec("shapes"))
    assert old.root.exists()
    assert not new.root.exists()


async def test_a_leased_environment_is_never_evicted(opener: Opener) -> None:
    """Not by another builder of this process, nor above the limit."""
    async with opener(limit=Bytes(1)) as environments:
        async with environments.lease(spec("colours==1.0")) as held:
            other = await built(environments, spec("colours==2.0"))
            assert held.root.exists()
            assert not other.root.exists()
        assert not held.root.exists()


async def test_a_pinned_environment_is_never_evicted(opener: Opener) -> None:
    """An adopted run's environment stays as long as its pin."""
    async with opener() as environments:
        held = await built(environments, spec("colours==1.0"))
    async with opener(limit=Bytes(1)) as environments, environments.pin(held.key):
        await built(environments, spec("colours==2.0"))
        assert held.root.exists()


async def test_a_locked_environment_is_never_evicted(opener: Opener) -> None:
    """The supervisor of a run whose daemon is dead keeps it by a lock alone."""
    async with opener(limit=Bytes(1)) as environments:
        async with environments.lease(spec("colours==1.0")) as used:
            assert used.lock is not None
            descriptor = os.open(used.lock, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            await built(environments, spec("colours==2.0"))
            assert used.root.exists()
        finally:
            os.close(descriptor)
        await built(environments, spec("colours==2.0"))
        assert not used.root.exists()


async def test_a_cancelled_build_leaves_nothing(
    opener: Opener, shelf: Path, tmp_path: Path
) -> None:
    """Its processes end, escaped ones too, its staging goes, and the next one builds."""
    ready = tmp_path / "ready"
    sleeper = "import subprocess, time\n"
    sleeper += "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    sleeper += f"open({str(ready)!r}, 'w').close()\n"
    packages.source(shelf, "slow", code=sleeper + "time.sleep(1000)")
    async with opener() as environments:
        async with anyio.create_task_group() as group:
            group.start_soon(built, environments, spec("slow"))
            await until(ready.exists)
            group.cancel_scope.cancel()
        assert list((tmp_path / "envs" / "staging").iterdir()) == []
        assert not (await built(environments, spec("colours"))).reused


async def test_bytecode_is_compiled_once_and_believed(opener: Opener, tmp_path: Path) -> None:
    """After ``compile_later`` modules have their bytecode, and the environment is still whole."""
    async with opener() as environments:
        async with environments.lease(spec("colours==1.0")) as environment:
            await environments.compile_later(environment)
            compiled = list(environment.root.glob("lib/*/site-packages/colours/__pycache__/*.pyc"))
            assert len(compiled) == 1
            attachment = await environments.attach(environment, tmp_path / "run")
            where = "import colours; print(colours.__cached__)"
            assert run(attachment, where, tmp_path) == str(compiled[0])
            stamp = (environment.root / manifest.NAME).read_text()
            await environments.compile_later(environment)
            assert (environment.root / manifest.NAME).read_text() == stamp
        assert (await built(environments, spec("colours==1.0"))).reused


async def test_the_installers_cache_is_emptied_above_its_limit(
    opener: Opener, tmp_path: Path
) -> None:
    """Environments do not depend on it."""
    own = tmp_path / "uv"
    async with (
        opener(uv_cache=own, uv_cache_limit=Bytes(1)) as environments,
        environments.lease(spec("colours==1.0")) as environment,
    ):
        await environments.compile_later(environment)
        assert list((own / "wheels").iterdir()) == []
        attachment = await environments.attach(environment, tmp_path / "run")
        assert run(attachment, "import colours", tmp_path) == ""


async def test_the_installers_cache_is_measured_when_something_was_built(
    opener: Opener, tmp_path: Path
) -> None:
    """It may hold a million files, and most experiments add none."""
    own = tmp_path / "uv"
    async with opener(uv_cache=own, uv_cache_limit=Bytes(64 << 20)) as environments:
        async with environments.lease(spec("colours==1.0")) as environment:
            await environments.compile_later(environment)
        large = own / "wheels" / "large"
        large.write_bytes(bytes(65 << 20))
        async with environments.lease(spec("colours==1.0")) as environment:
            await environments.compile_later(environment)
        assert large.exists()
        async with environments.lease(spec("colours==2.0")) as environment:
            await environments.compile_later(environment)
        assert not large.exists()


async def test_what_is_gone_is_not_compiled(opener: Opener) -> None:
    """Evicted, or with all of its directories: nobody asks for its bytecode any more."""
    async with opener() as environments:
        async with environments.lease(spec("colours==1.0")) as environment:
            pass
        with structlog.testing.capture_logs() as lines:
            remove_tree(environment.root)
            await environments.compile_later(environment)
            remove_tree(environment.root.parents[1])
            await environments.compile_later(environment)
    assert [line["log_level"] for line in lines] == ["info"]


async def test_compiling_when_the_daemon_ends_is_no_fault(opener: Opener) -> None:
    """It goes on beside the end: what is closed by then is left to the next daemon."""
    limits = {"uv_cache_limit": Bytes(1 << 20)}
    async with opener(**limits) as environments, environments.lease(spec("colours")) as environment:
        pass
    await environments.compile_later(environment)


async def test_a_full_disk_takes_downloads_first_then_unused_environments(
    opener: Opener, tmp_path: Path
) -> None:
    """What is leased stays, and no more goes than is missing."""
    own = tmp_path / "uv"
    async with opener(uv_cache=own) as environments:
        old = await built(environments, spec("colours==1.0"))
        new = await built(environments, spec("colours==2.0"))
        (own / "wheels" / "large").write_bytes(bytes(12 << 20))
        await environments.give_way(Bytes(1))
        assert list((own / "wheels").iterdir()) == []
        assert old.root.exists()
        async with environments.lease(spec("colours==1.0")):
            await environments.give_way(Bytes(1))
            assert (old.root.exists(), new.root.exists()) == (True, False)
            await environments.give_way(Bytes(1 << 40))
            assert old.root.exists()


async def test_no_file_is_tied_to_the_installers_cache(opener: Opener) -> None:
    """Not one hard link: a write through one name would change every environment."""
    async with opener() as environments:
        environment = await built(environments, spec("colours==1.0"))
    files = [path for path in environment.root.rglob("*") if path.is_file()]
    assert {path.lstat().st_nlink for path in files if not path.is_symlink()} == {1}


async def test_a_default_python_that_does_not_run_stops_with_its_name(
    opener: Opener, tmp_path: Path
) -> None:
    """The operator named it, the operator is told."""
    async with opener(default_python=str(tmp_path / "python")) as environments:
        with pytest.raises(Misconfigured, match="--default-python"):
            await built(environments, spec("colours"))


async def test_the_manifest_tells_people_what_is_inside(opener: Opener) -> None:
    """It is plain JSON with the list and the interpreter."""
    async with opener() as environments:
        environment = await built(environments, spec("shapes"))
    found = json.loads((environment.root / manifest.NAME).read_text())
    assert "colours==2.0" in found["packages"]
    assert found["interpreter"]["implementation"] == "cpython"


@pytest.mark.service("pypi")
async def test_a_real_package_comes_from_the_index(opener: Opener, tmp_path: Path) -> None:
    """numpy, a wheel with binary modules, is installed from the machine's own package index."""
    options = {
        "no_index": False,
        "find_links": (),
        "extra_variables": network_variables(os.environ),
    }
    async with opener(**options) as environments, environments.lease(spec("numpy")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        code = "import numpy; print(numpy.ones(3).sum())"
        assert run(attachment, code, tmp_path) == "3.0"


def _add_secretly(shelf: Path, version: str) -> None:
    """Add a package without the directory's time telling of it."""
    stamp = shelf.stat()
    packages.wheel(shelf, "colours", version)
    os.utime(shelf, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def _small_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*.json"))
    return [path for path in found if path.is_file()]
