"""What every environment builder promises; a backend inherits this and supplies the fixtures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio
import pytest

from runner.environments.base import Attachment, Environment, Environments, EnvironmentSpec
from runner.errors import BadField, PythonMissing, RequirementsFailed


def run(attachment: Attachment, code: str, cwd: Path) -> str:
    """Run ``code`` as an experiment would be and return what it prints; its error is shown."""
    folders = [str(folder) for folder in attachment.path]
    done = subprocess.run(
        [str(attachment.python), "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": ":".join([*folders, "/usr/bin", "/bin"]), **attachment.variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class EnvironmentsContract:
    """The promises of ``runner.environments.base``."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def environments(self) -> Environments:
        """Return an open builder; a backend's fixture may be asynchronous."""
        raise NotImplementedError

    @pytest.fixture
    def spec(self) -> EnvironmentSpec:
        """Return a spec that can be built, whose environment has the module ``colours``."""
        raise NotImplementedError

    @pytest.fixture
    def other(self) -> EnvironmentSpec:
        """Return another spec that can be built."""
        raise NotImplementedError

    @pytest.fixture
    def failing(self) -> EnvironmentSpec:
        """Return a spec with a requirement called ``nowhere-to-be-found``."""
        raise NotImplementedError

    async def test_an_environment_is_built_and_then_reused(
        self, environments: Environments, spec: EnvironmentSpec
    ) -> None:
        """The second lease of an equal spec finds what the first one built."""
        async with environments.lease(spec) as first:
            assert not first.reused
            assert first.root.is_dir()
        async with environments.lease(spec) as second:
            assert second.reused
        assert (second.key, second.root) == (first.key, first.root)

    async def test_other_requirements_are_another_environment(
        self, environments: Environments, spec: EnvironmentSpec, other: EnvironmentSpec
    ) -> None:
        """The key says what is installed."""
        async with environments.lease(spec) as one, environments.lease(other) as two:
            assert one.key != two.key

    async def test_many_that_ask_at_once_share_one_build(
        self, environments: Environments, spec: EnvironmentSpec
    ) -> None:
        """Of five leases taken together exactly one builds."""
        reused: list[bool] = []

        async def ask() -> None:
            async with environments.lease(spec) as found:
                reused.append(found.reused)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert sorted(reused) == [False, True, True, True, True]

    async def test_an_attachment_imports_what_was_installed(
        self, environments: Environments, spec: EnvironmentSpec, tmp_path: Path
    ) -> None:
        """The attachment's interpreter sees the shared packages; its prefix is the attachment."""
        async with environments.lease(spec) as environment:
            attachment = await environments.attach(environment, tmp_path / "run")
            assert run(attachment, "import colours; print(colours.VERSION)", tmp_path) == "1.0"
            prefix = run(attachment, "import sys; print(sys.prefix)", tmp_path)
        assert prefix == str(tmp_path / "run")

    async def test_what_a_run_adds_stays_its_own(
        self, environments: Environments, spec: EnvironmentSpec, tmp_path: Path
    ) -> None:
        """A module that one run puts among its packages is not seen by another run."""
        async with environments.lease(spec) as environment:
            first = await environments.attach(environment, tmp_path / "first")
            folder = run(first, "import site; print(site.getsitepackages()[0])", tmp_path)
            (Path(folder) / "added.py").write_text("")
            second = await environments.attach(environment, tmp_path / "second")
            assert run(first, "import added", tmp_path) == ""
            with pytest.raises(AssertionError, match="No module named 'added'"):
                run(second, "import added", tmp_path)

    async def test_a_failing_requirement_says_why_and_leaves_nothing(
        self, environments: Environments, failing: EnvironmentSpec, spec: EnvironmentSpec
    ) -> None:
        """The error has the installer's own words; the next spec is not hurt by it."""
        with pytest.raises(RequirementsFailed, match="nowhere-to-be-found"):
            await _lease_once(environments, failing)
        assert not (await _lease_once(environments, spec)).reused

    async def test_an_option_is_no_requirement(
        self, environments: Environments, spec: EnvironmentSpec
    ) -> None:
        """A line that the installer would take for an option is refused by its name."""
        wanted = EnvironmentSpec(spec.python_version, ("--index-url http://x",), spec.scope)
        with pytest.raises(BadField, match="--index-url"):
            await _lease_once(environments, wanted)

    async def test_a_python_that_is_not_there_is_named(
        self, environments: Environments, spec: EnvironmentSpec
    ) -> None:
        """The error says what was asked for."""
        wanted = EnvironmentSpec("3.99", spec.requirements, spec.scope)
        with pytest.raises(PythonMissing, match=r"3\.99"):
            await _lease_once(environments, wanted)

    async def test_a_pin_keeps_an_environment_without_preparing_it(
        self, environments: Environments, spec: EnvironmentSpec
    ) -> None:
        """An adopted run's environment is held by its key alone."""
        built = await _lease_once(environments, spec)
        async with environments.pin(built.key):
            assert built.root.is_dir()


async def _lease_once(environments: Environments, spec: EnvironmentSpec) -> Environment:
    async with environments.lease(spec) as environment:
        return environment
