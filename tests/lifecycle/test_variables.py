"""The experiment sees what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.environments.base import Attachment
from runner.lifecycle.runs.variables import DEFAULT_PATH, base_variables, expanded, variables
from runner.model import Allocation, Bytes
from tests.request.sample import changed, decoded

OWN = {"SLACK_HOOK": "https://hooks/secret", "HTTPS_PROXY": "http://proxy", "PATH": "/daemon/bin"}


def environment(
    env: dict[str, str] | None = None, gpus: tuple[str, ...] = (), cores: int = 4
) -> dict[str, str]:
    """Return the environment of an experiment with this ``config.env``."""
    return variables(
        decoded(changed("config.env", env or {})),
        Allocation(cores, Bytes(0), Bytes(0), gpus),
        base=base_variables(user="nobody", exposed=["HTTPS_PROXY", "NOT_THERE"], own=OWN),
        home=Path("/w/h"),
        scratch=Path("/w/t"),
        name="abc.0",
        attachment=Attachment(Path("/e/bin/python"), {"VIRTUAL_ENV": "/e"}, (Path("/e/bin"),)),
    )


def test_nothing_of_the_daemon_is_seen_but_what_is_exposed() -> None:
    """A webhook is nobody's business, a proxy may be."""
    env = environment({"A": "%SLACK_HOOK%", "B": "%HTTPS_PROXY%/x"})
    assert env["A"] == "%SLACK_HOOK%"
    assert env["B"] == "http://proxy/x"
    assert "SLACK_HOOK" not in env
    assert env["PATH"] == f"/e/bin:{DEFAULT_PATH}"


def test_the_experiment_can_lengthen_its_path() -> None:
    """The documentation's example; the environment's programs stay first unless it says where."""
    assert environment({"PATH": "%PATH%:./bin"})["PATH"] == f"/e/bin:{DEFAULT_PATH}:./bin"
    assert environment({"PATH": "/mine"})["PATH"] == "/e/bin:/mine"
    assert environment({"PATH": "./bin:%PATH%"})["PATH"] == f"./bin:/e/bin:{DEFAULT_PATH}"


def test_the_allocation_wins_over_the_message() -> None:
    """Nobody takes a colleague's card by naming it."""
    wanted = {
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "TMPDIR": "/elsewhere",
        "STUDIOML_EXPERIMENT": "other",
        "VIRTUAL_ENV": "/other",
        "HOME": "/home/mine",
    }
    env = environment(wanted, ("GPU-1", "GPU-2"))
    assert env["CUDA_VISIBLE_DEVICES"] == env["NVIDIA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["TMPDIR"] == "/w/t"
    assert env["VIRTUAL_ENV"] == "/e"
    assert (env["STUDIOML_EXPERIMENT"], env["STUDIOML_HOME"]) == ("abc.0", "/w/h")
    assert env["HOME"] == "/home/mine"
    assert "STUDIOML_ARTIFACT_MAPPING" not in env


def test_without_cards_none_is_visible() -> None:
    """An unset variable would mean all of them."""
    env = environment()
    assert env["CUDA_VISIBLE_DEVICES"] == env["NVIDIA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        ("", "4"),
        ("1", "1"),
        ("4", "4"),
        ("64", "4"),
        ("0", "1"),
        ("-1", "4"),
        ("x", "4"),
        ("²", "4"),
    ],
)
def test_threads_follow_the_cores(asked: str, threads: str) -> None:
    """Fewer may be asked for, more may not."""
    env = environment({"OMP_NUM_THREADS": asked} if asked else {})
    assert env["OMP_NUM_THREADS"] == threads
    assert env["MKL_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "4"


def test_output_is_not_held_back_and_text_is_utf_8() -> None:
    """Whoever follows the output wants to see it now."""
    env = environment()
    assert env["PYTHONUNBUFFERED"] == env["AWS_SDK_LOAD_CONFIG"] == "1"
    assert env["LC_ALL"] == "C.UTF-8"
    assert environment({"LC_ALL": "de_DE.UTF-8"})["LC_ALL"] == "de_DE.UTF-8"


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("%A%", "1"),
        ("x%A%y%B%z", "x1y2z"),
        ("%NONE%", "%NONE%"),
        ("%EMPTY%", "%EMPTY%"),
        ("100%", "100%"),
        ("a%b c%d", "a%b c%d"),
        ("50% of %A%", "50% of 1"),
        ("%%A%%", "%1%"),
        ("%R%", "%A%"),
        ("", ""),
    ],
)
def test_names_between_percent_signs_are_replaced(value: str, result: str) -> None:
    """Known ones with a value, once; everything else stays as it is written."""
    assert expanded(value, {"A": "1", "B": "2", "EMPTY": "", "R": "%A%"}) == result


@given(st.text("%AB "))
def test_without_known_names_nothing_changes(value: str) -> None:
    """Whatever percent signs there are."""
    assert expanded(value, {}) == value
