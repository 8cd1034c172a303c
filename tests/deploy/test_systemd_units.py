"""The unit files: the same everywhere, correct for systemd, as hardened as is said."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from runner.app import scopes
from runner.errors import Misconfigured
from runner.service import templates
from runner.settings import Settings

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy/systemd"
DOCUMENT = REPOSITORY / "docs/systemd.md"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, for a daemon that is there."""
    for name in (templates.UNIT, templates.RUNS_SLICE):
        (tmp_path / name).write_text(
            templates.filled(name, command=(sys.executable, "-m", "runner"))
        )
    return tmp_path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    command = ("systemd-analyze", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def values(text: str, key: str) -> list[str]:
    """Return what a key of a unit file is set to."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_the_repository_has_what_is_installed() -> None:
    """``deploy/systemd`` and ``install-service`` cannot differ: they come from the same files."""
    found = {
        str(path.relative_to(DEPLOY)): path.read_text()
        for path in DEPLOY.rglob("*")
        if path.is_file()
    }
    assert found == templates.deployed(), "run: python -m runner.service.templates deploy/systemd"


@pytest.mark.service("systemd")
@pytest.mark.parametrize("drains", [False, True])
def test_systemd_has_nothing_to_say(units: Path, *, drains: bool) -> None:
    """Verifying exits with 0 for keys that systemd does not know: any word is a failure."""
    if drains:
        folder = units / f"{templates.UNIT}.d"
        folder.mkdir()
        (folder / templates.DRAIN_ON_STOP).write_text(templates.filled(templates.DRAIN_ON_STOP))
    paths = [str(units / name) for name in (templates.UNIT, templates.RUNS_SLICE)]
    done = analyze("verify", "--man=no", *paths)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.service("systemd")
def test_the_documented_exposure_is_not_exceeded(units: Path) -> None:
    """The score of ``systemd-analyze security`` is the one in the documentation, or better."""
    (stated,) = re.findall(r"exposure of (\d+\.\d)", DOCUMENT.read_text())
    threshold = str(round(float(stated) * 10))
    done = analyze(
        "security", "--offline=true", f"--threshold={threshold}", str(units / templates.UNIT)
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_a_stop_leaves_runs_alone() -> None:
    """No process but the daemon is signalled, and with the signal that means detach."""
    unit = templates.filled(templates.UNIT)
    assert values(unit, "KillMode") == ["process"]
    assert values(unit, "KillSignal") == ["SIGUSR1"]
    assert values(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert values(unit, "OOMPolicy") == ["continue"]
    for emptied in ("PrivateTmp", "RuntimeDirectory", "LogsDirectory"):
        assert values(unit, emptied) == []


def test_a_drain_on_stop_has_the_time_that_it_takes() -> None:
    """Systemd waits longer than the daemon does by default, with some minutes for uploads."""
    (minutes,) = values(templates.filled(templates.DRAIN_ON_STOP), "TimeoutStopSec")
    grace = Settings.load([], {}).grace_period
    assert minutes.endswith("min")
    assert timedelta(minutes=int(minutes.removesuffix("min"))) >= grace + timedelta(minutes=5)


def test_all_speak_of_the_same_slice() -> None:
    """The unit, the slice's file and the daemon name one slice."""
    assert templates.RUNS_SLICE == scopes.SLICE
    assert scopes.SLICE in values(templates.filled(templates.UNIT), "Wants")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("/opt/a-b_c/bin/x.y",), "/opt/a-b_c/bin/x.y"),
        (("/a b/python", "-m", "runner"), '"/a b/python" -m runner'),
        (("/50%/$x", "50%", "$x"), "/50%%/$x 50%% $$x"),
        (("/x", 'a"b\\c'), '/x "a\\"b\\\\c"'),
        (("/x", ""), '/x ""'),
    ],
)
def test_the_command_reaches_systemd_as_it_is(words: tuple[str, ...], line: str) -> None:
    """What means something to systemd is quoted or doubled."""
    assert templates.command_line(words) == line


@pytest.mark.service("systemd")
def test_a_command_in_a_strange_place_is_understood(tmp_path: Path) -> None:
    """Systemd finds the program under a name with spaces, dollars and percent signs."""
    program = tmp_path / "a b $HOME 100%" / "studio-runner"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in (templates.UNIT, templates.RUNS_SLICE):
        (tmp_path / name).write_text(templates.filled(name, command=(str(program),)))
    done = analyze("verify", "--man=no", str(tmp_path / templates.UNIT))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ['/a"b', "/a'b", "/a\\b", "/a\nb"])
def test_a_name_that_systemd_refuses_is_refused_at_once(name: str) -> None:
    """The sentence says where to install instead."""
    with pytest.raises(Misconfigured, match="/opt/studio-runner"):
        templates.command_line((name,))


def test_the_environment_file_names_options_that_there_are() -> None:
    """Every line that can be uncommented sets an option, to a value that is accepted."""
    text = templates.filled(templates.ENVIRONMENT)
    lines = re.findall(r"^#(STUDIO_RUNNER_\w+)=(.*)$", text, re.MULTILINE)
    assert len(lines) > 5
    environ = {name: value for name, value in lines if not name.endswith("_FILE")}
    settings = Settings.load([], environ)
    named = {name.removeprefix("STUDIO_RUNNER_").lower() for name in environ}
    assert named <= set(settings.origins)
