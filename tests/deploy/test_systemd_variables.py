"""The service's options are found where an operator puts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli import doctor
from runner.errors import Misconfigured
from runner.service import templates
from runner.service.variables import Service, of_service

UNITS = "etc/systemd/system"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit of a machine where the service is installed."""
    path = tmp_path / UNITS / templates.UNIT
    path.parent.mkdir(parents=True)
    path.write_text(templates.filled(templates.UNIT, user="alice"))
    return path


def test_the_unit_names_whom_experiments_run_as(unit: Path, tmp_path: Path) -> None:
    """Without an environment file there is what the unit itself says."""
    assert unit.exists()
    service = of_service(tmp_path)
    assert service.variables == {"STUDIO_RUNNER_RUN_AS": "alice", "HOME": "/root"}
    assert service.options == ()


def test_what_the_operator_writes_wins(unit: Path, tmp_path: Path) -> None:
    """Drop-ins come after the unit, the environment file after both; comments count nothing."""
    drop_in = unit.with_name(f"{unit.name}.d") / "own.conf"
    drop_in.parent.mkdir()
    drop_in.write_text('[Service]\nEnvironment=MAX_CORES=3 "LABEL=two words"\n')
    options = tmp_path / "etc/studio-runner/environment"
    options.parent.mkdir()
    options.write_text(
        "# MAX_MEM=1gb\nMAX_CORES=2\nQUEUE_MATCH='^lab='\n\nSTUDIO_RUNNER_RUN_AS=bob\n"
    )
    assert of_service(tmp_path).variables == {
        "STUDIO_RUNNER_RUN_AS": "bob",
        "HOME": "/root",
        "MAX_CORES": "2",
        "LABEL": "two words",
        "QUEUE_MATCH": "^lab=",
    }


def test_files_are_read_as_systemd_reads_them(unit: Path, tmp_path: Path) -> None:
    """Continued lines, quotes, backslashes, percent signs, patterns; what is taken back."""
    for place, text in {
        "run/systemd/system": "[Service]\nEnvironment=HIDDEN=1\n",
        UNITS: "[Service]\nEnvironment=\nEnvironment=A=1 \\\n  'B=50%% of it' nothing\n",
    }.items():
        drop_in = tmp_path / place / f"{unit.name}.d" / "own.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(text + "EnvironmentFile=\nEnvironmentFile=/etc/own/*.env\n")
    own = tmp_path / "etc/own"
    own.mkdir(parents=True)
    (own / "1.env").write_text('QUOTED="a \\" b\\d"\nPLAIN=^rmq\\\\d+ x\nLONG=1\\\n2\n;C=1\n')
    (own / "2.env").write_text("A=2\nLITERAL='\\d'\n")
    assert of_service(tmp_path).variables == {
        "A": "2",
        "B": "50% of it",
        "QUOTED": 'a " b\\d',
        "PLAIN": "^rmq\\d+ x",
        "LONG": "12",
        "LITERAL": "\\d",
    }


def test_options_of_the_command_line_count(unit: Path, tmp_path: Path) -> None:
    """A drop-in may replace the command; the last one is what is started."""
    drop_in = unit.with_name(f"{unit.name}.d") / "own.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(
        "[Service]\nExecStart=\nExecStart=/opt/r/bin/studio-runner run --max-cores 3 \\\n"
        '  --queue-match "^a%%b$$"\n'
    )
    assert of_service(tmp_path).options == ("--max-cores", "3", "--queue-match", "^a%b$")


def test_of_the_shell_only_how_it_draws_is_left() -> None:
    """A service has nothing of an operator's environment: no proxy, no key, no option, no PATH."""
    service = Service({"HOME": "/root", "HTTPS_PROXY": "http://p:3128"}, ())
    shell = {"HOME": "/home/me", "MAX_CORES": "1", "AWS_PROFILE": "me", "TERM": "xterm"}
    told = service.environment({**shell, "PATH": "/home/me/bin", "LC_ALL": "C"})
    assert told.pop("PATH").startswith("/usr/local/sbin:")
    assert told == {
        "HOME": "/root",
        "HTTPS_PROXY": "http://p:3128",
        "TERM": "xterm",
        "LC_ALL": "C",
    }


def test_a_service_that_is_not_installed_is_said(tmp_path: Path) -> None:
    """With the command that installs it."""
    with pytest.raises(Misconfigured, match="install-service"):
        of_service(tmp_path)


@pytest.mark.skipif(Path("/", UNITS, templates.UNIT).exists(), reason="the service is installed")
def test_the_doctor_says_so_too() -> None:
    """It does not look at what nobody will start."""
    with pytest.raises(Misconfigured, match="install-service"):
        doctor.main(["--service"], {})
