"""In an attached environment everything works that works in one of one's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.environments.base import Attachment, EnvironmentSpec
from runner.environments.sources import network_variables
from runner.environments.uv import UvEnvironments
from runner.errors import PythonMissing
from tests.contracts.environments import run
from tests.environments import packages
from tests.environments.conftest import Opener

pytestmark = pytest.mark.anyio


def spec(*requirements: str, python: str | None = None) -> EnvironmentSpec:
    """Return what an experiment wants."""
    return EnvironmentSpec(python, requirements, "us")


def command(attachment: Attachment, *argv: str, cwd: Path) -> str:
    """Run a program of the environment, found in ``PATH``; return what it prints."""
    folders = [str(folder) for folder in attachment.path]
    done = subprocess.run(
        ["/usr/bin/env", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": ":".join([*folders, "/usr/bin", "/bin"]), **attachment.variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
async def environments(opener: Opener) -> AsyncIterator[UvEnvironments]:
    """Return an open builder."""
    async with opener() as opened:
        yield opened


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
async def test_pip_works_in_every_python(
    environments: UvEnvironments, shelf: Path, tmp_path: Path, python: str
) -> None:
    """``pip list`` shows the shared packages; an upgrade is the run's own and wins there alone."""
    try:
        async with environments.lease(spec("colours==1.0", python=python)) as environment:
            mine = await environments.attach(environment, tmp_path / "mine")
            other = await environments.attach(environment, tmp_path / "other")
            listed = command(mine, "pip", "list", cwd=tmp_path)
            assert "colours 1.0" in " ".join(listed.split())
            upgrade = ["pip", "install", "-q", "-U", "--no-index", "--find-links", str(shelf)]
            command(mine, *upgrade, "colours", cwd=tmp_path)
            version = "import colours; print(colours.VERSION)"
            assert run(mine, version, tmp_path) == "2.0"
            assert run(other, version, tmp_path) == "1.0"
            again = await environments.attach(environment, tmp_path / "again")
            assert run(again, version, tmp_path) == "1.0"
    except PythonMissing:
        pytest.skip(f"Python {python} is not on this machine")


async def test_a_console_script_runs_with_the_runs_own_interpreter(
    environments: UvEnvironments, shelf: Path, tmp_path: Path
) -> None:
    """As ``torchrun`` does: what it starts sees what the run installed."""
    main = "import sys\ndef main():\n    print(sys.executable)\n"
    packages.wheel(
        shelf, "starter", files={"starter/main.py": main}, commands={"start": "starter.main:main"}
    )
    async with environments.lease(spec("starter")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        printed = command(attachment, "start", cwd=tmp_path).strip()
    assert printed == str(attachment.python)


async def test_scripts_that_say_the_same_are_one_file(
    environments: UvEnvironments, shelf: Path, tmp_path: Path
) -> None:
    """As ``pip`` and ``pip3`` are, and the names of the interpreter: every run makes them anew."""
    main = "import sys\ndef main():\n    print(sys.executable)\n"
    commands = dict.fromkeys(("start", "begin"), "starter.main:main")
    packages.wheel(shelf, "starter", files={"starter/main.py": main}, commands=commands)
    async with environments.lease(spec("starter")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        (folder,) = attachment.path
        for name in commands:
            assert command(attachment, name, cwd=tmp_path).strip() == str(attachment.python)
        names = ("start", "begin", "python", "python3")
        start, begin, python, python3 = ((folder / name).lstat().st_ino for name in names)
    assert (start, python) == (begin, python3)
    assert not (folder / "start").samefile(environment.root / "bin" / "start")


async def test_a_console_script_works_in_a_directory_with_a_long_name(
    environments: UvEnvironments, shelf: Path, tmp_path: Path
) -> None:
    """The kernel cuts long first lines, and knows no blanks in them."""
    main = "import sys\ndef main():\n    print(sys.executable)\n"
    packages.wheel(
        shelf, "starter", files={"starter/main.py": main}, commands={"start": "starter.main:main"}
    )
    into = tmp_path / ("a long name " * 15)
    async with environments.lease(spec("starter")) as environment:
        attachment = await environments.attach(environment, into)
        assert command(attachment, "start", cwd=tmp_path).strip() == str(attachment.python)


async def test_an_editable_requirement_can_be_imported(
    environments: UvEnvironments, tmp_path: Path
) -> None:
    """Its ``.pth`` file lies among the shared packages and is read."""
    folder = packages.checkout(tmp_path / "project", "in-work")
    async with environments.lease(spec(f"-e {folder}")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        found = run(attachment, "import in_work; print(in_work.__file__)", tmp_path)
    assert found == str(folder / "src" / "in_work" / "__init__.py")


async def test_code_in_a_shared_pth_file_runs(
    environments: UvEnvironments, shelf: Path, tmp_path: Path
) -> None:
    """As setuptools' ``distutils-precedence.pth`` must: it brings ``distutils`` back."""
    packages.wheel(
        shelf,
        "precedence",
        files={"old-module.pth": "import sys; sys.modules['gone_module'] = sys\n"},
    )
    async with environments.lease(spec("precedence")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        assert run(attachment, "import gone_module", tmp_path) == ""


@pytest.mark.service("pypi")
async def test_distutils_is_there_on_312(opener: Opener, tmp_path: Path) -> None:
    """Python 3.12 has none; setuptools comes along and brings it."""
    variables = network_variables(os.environ)
    async with opener(no_index=False, extra_variables=variables) as environments:
        try:
            async with environments.lease(spec(python="3.12")) as environment:
                attachment = await environments.attach(environment, tmp_path / "run")
                code = "from distutils.version import LooseVersion"
                assert run(attachment, code, tmp_path) == ""
        except PythonMissing:
            pytest.skip("Python 3.12 is not on this machine")


async def test_a_spawned_child_imports_shared_packages(
    environments: UvEnvironments, tmp_path: Path
) -> None:
    """``multiprocessing`` with ``spawn`` starts the run's interpreter again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "def work(_):\n"
        "    import colours\n"
        "    return colours.VERSION\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(work, [1]))\n"
    )
    async with environments.lease(spec("colours==1.0")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        assert command(attachment, "python", str(script), cwd=tmp_path) == "['1.0']\n"


async def test_data_files_are_found_and_can_be_added_to(
    environments: UvEnvironments, shelf: Path, tmp_path: Path
) -> None:
    """``share`` is the run's own directory with links in it."""
    packages.wheel(shelf, "maps", data={"share/maps/world.txt": "round"})
    async with environments.lease(spec("maps")) as environment:
        attachment = await environments.attach(environment, tmp_path / "run")
        code = (
            "import pathlib, sys\n"
            "folder = pathlib.Path(sys.prefix, 'share', 'maps')\n"
            "print((folder / 'world.txt').read_text())\n"
            "(folder / 'mine.txt').write_text('')\n"
        )
        assert run(attachment, code, tmp_path) == "round"
        assert not (environment.root / "share" / "maps" / "mine.txt").exists()


async def test_packages_of_a_base_environment_lie_beneath(
    opener: Opener, shelf: Path, tmp_path: Path
) -> None:
    """What the machine has is seen and not installed again; the experiment's own wins."""
    gone = packages.wheel(shelf, "nvidia-only", "7.0")
    async with (
        opener(root=tmp_path / "other") as plain,
        plain.lease(spec("nvidia-only", "colours==1.0")) as environment,
    ):
        base = (await plain.attach(environment, tmp_path / "base")).python.parent.parent
        gone.unlink()
        async with opener(base_environment=base) as environments:
            wanted = spec("nvidia-only", "shapes", "colours==2.0")
            async with environments.lease(wanted) as layered:
                attachment = await environments.attach(layered, tmp_path / "run")
                code = "import colours, nvidia_only as n; print(colours.VERSION, n.VERSION)"
                assert run(attachment, code, tmp_path) == "2.0 7.0"
        assert not list(layered.root.glob("lib/*/site-packages/nvidia_only"))


async def test_a_base_of_another_python_is_left_out(
    opener: Opener, reports: list[str], tmp_path: Path
) -> None:
    """Its binary modules would not load; the experiment is built without it, and that is said."""
    async with (
        opener(root=tmp_path / "other") as plain,
        plain.lease(spec("colours==1.0", python="3.11")) as environment,
    ):
        base = (await plain.attach(environment, tmp_path / "base")).python.parent.parent
        async with opener(base_environment=base) as environments:
            try:
                async with environments.lease(spec(python="3.12")) as without:
                    attachment = await environments.attach(without, tmp_path / "run")
            except PythonMissing:
                pytest.skip("Python 3.12 is not on this machine")
            with pytest.raises(AssertionError, match="No module named 'colours'"):
                run(attachment, "import colours", tmp_path)
    assert any("built without the base" in sentence for sentence in reports)
