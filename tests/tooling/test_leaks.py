"""The leak check itself: it sees what tests leave behind, and nothing that is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
from tests import leaks
from tests.leaks import leak_check
leaks.PATIENCE = 0.2

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


@dataclass(frozen=True)
class Project:
    """A small test suite of its own, run by a pytest of its own."""

    directory: Path

    def run(self, test: str) -> subprocess.CompletedProcess[str]:
        """Run a test module under the leak check and return what pytest printed."""
        (self.directory / "conftest.py").write_text(CONFTEST)
        (self.directory / "test_it.py").write_text(textwrap.dedent(test))
        (self.directory / "pytest.ini").write_text("[pytest]\nmarkers = leaky(reason): exempt\n")
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # half of the start is Hypothesis
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "anyio"]
        command += ["--basetemp", str(self.directory / "base"), "test_it.py"]
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a directory for the inner suite."""
    return Project(tmp_path)


LEAKS = {
    "test_thread": "thread 'lazy'",
    "test_child": "sleep 3613",
    "test_zombie": "a zombie that nobody waited for",
    "test_orphan": "sleep 3614",
    "test_descriptor": "-> /proc/version",
    "test_directory": "entry 'forgotten",
}


def test_whatever_a_test_leaves_is_named(project: Project) -> None:
    """A leak of each kind makes the test that left it an error which names what stayed."""
    done = project.run(
        """
        import os, subprocess, tempfile, threading
        keep = []

        def test_thread():
            threading.Thread(target=threading.Event().wait, name="lazy", daemon=True).start()

        def test_child():
            keep.append(subprocess.Popen(["sleep", "3613"]))

        def test_zombie():
            if not os.fork():
                os._exit(0)

        def test_orphan():
            subprocess.run(["sh", "-c", "setsid sleep 3614 >/dev/null 2>&1 &"])

        def test_descriptor():
            os.open("/proc/version", os.O_RDONLY)

        def test_directory():
            tempfile.mkdtemp(prefix="forgotten")

        def test_innocent():
            pass
        """
    )
    assert "7 passed, 6 errors" in done.stdout, done.stdout
    details = done.stdout.partition("short test summary info")[0]
    sections = details.split("ERROR at teardown of ")[1:]
    told = {section.split()[0]: section for section in sections}
    assert told.keys() == LEAKS.keys()
    for test, name in LEAKS.items():
        assert "the test left behind" in told[test]
        assert name in told[test]
        assert told[test].count("\n  ") == 1, told[test]


def test_a_tidy_test_passes(project: Project) -> None:
    """Loops, worker threads, children, files and services of a wider scope are no leaks."""
    done = project.run(
        """
        import subprocess, tempfile
        import anyio, anyio.to_thread, pytest

        @pytest.fixture(scope="module")
        def service():
            command = ["sh", "-c", "while :; do sleep 0.01 & wait; done"]
            with subprocess.Popen(command) as process:
                yield process
                process.kill()

        @pytest.fixture
        async def resource():
            async with anyio.create_task_group() as group:
                yield group
                group.cancel_scope.cancel()

        @pytest.mark.anyio
        @pytest.mark.parametrize("turn", range(5))
        async def test_tidy(service, resource, turn):
            await anyio.to_thread.run_sync(lambda: None)
            await anyio.run_process(["true"])
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
        """
    )
    assert "5 passed" in done.stdout, done.stdout
    assert done.returncode == 0


def test_what_is_just_ending_is_waited_for(project: Project) -> None:
    """A thread and a child that end a moment after their test are no leaks."""
    done = project.run(
        """
        import subprocess, threading, time

        def test_ends_soon():
            child = subprocess.Popen(["sleep", "0.05"])
            threading.Thread(target=child.wait).start()
        """
    )
    assert "1 passed" in done.stdout, done.stdout
    assert "error" not in done.stdout


@pytest.mark.parametrize(("reason", "verdict"), [("'by design'", "1 passed"), ("", "1 error")])
def test_a_leak_needs_a_reason(project: Project, reason: str, verdict: str) -> None:
    """The marker ``leaky`` exempts a test when it says why, and only then."""
    done = project.run(
        f"""
        import os, pytest

        @pytest.mark.leaky({reason})
        def test_leaks():
            os.open("/proc/version", os.O_RDONLY)
        """
    )
    assert verdict in done.stdout, done.stdout


def test_temporary_files_have_a_place_of_their_own(project: Project) -> None:
    """``tempfile`` and children's ``TMPDIR`` point below pytest's own directory during a test."""
    done = project.run(
        """
        import os, subprocess, tempfile

        def test_place(tmp_path):
            assert tempfile.gettempdir() == os.environ["TMPDIR"]
            assert tempfile.gettempdir().startswith(str(tmp_path.parent))
            subprocess.run(["sh", "-c", "f=$(mktemp) && rm $f"], check=True)
        """
    )
    assert "1 passed" in done.stdout, done.stdout
