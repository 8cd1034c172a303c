"""The service's options are found where an operator puts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli import doctor
from runner.errors import Misconfigured
from runner.service import templates
from runner.service.variables import of_service

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
    assert of_service(tmp_path) == {"STUDIO_RUNNER_RUN_AS": "alice", "HOME": "/root"}


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
    assert of_service(tmp_path) == {
        "STUDIO_RUNNER_RUN_AS": "bob",
        "HOME": "/root",
        "MAX_CORES": "2",
        "LABEL": "two words",
        "QUEUE_MATCH": "^lab=",
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
