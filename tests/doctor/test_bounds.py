"""What the doctor says about the bounds of runs."""

from __future__ import annotations

import pytest

from runner.app import bounds as choosing
from runner.app.bounds import Choice
from runner.doctor import bounds
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic

pytestmark = pytest.mark.anyio


@pytest.mark.service("cgroups")
async def test_groups_that_work_are_told(clinic: Clinic) -> None:
    """With what they bound, and their version."""
    (told,) = (await clinic.look(bounds.look, await clinic.patient())).findings
    assert told.verdict is Verdict.OK
    assert "memory" in told.sentence
    assert "control groups v" in told.sentence


async def test_measuring_on_purpose_is_well(clinic: Clinic) -> None:
    """What it does not bound is said all the same."""
    found = await clinic.look(bounds.look, await clinic.patient("--enforce", "measure"))
    (told,) = found.findings
    assert told.verdict is Verdict.OK
    assert "cores are not bounded" in told.sentence


async def test_no_bounds_at_all_are_a_warning(clinic: Clinic) -> None:
    """With the option that changes it."""
    found = await clinic.look(bounds.look, await clinic.patient("--enforce", "off"))
    (told,) = found.findings
    assert (told.verdict, told.remedy) == (Verdict.WARNING, "--enforce auto")


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        ("[Errno 13] Permission denied: '/sys/fs/cgroup/x'", "Delegate=yes"),
        ("the control group /x has no memory to bound", "cgroup_enable=memory"),
    ],
)
def test_groups_that_do_not_work_are_a_warning(trouble: str, remedy: str) -> None:
    """With the reason, and what an operator can do about it."""
    told = bounds._of(Choice("measure", "runs are measured", trouble), choosing.AUTO)
    assert told.verdict is Verdict.WARNING
    assert trouble in told.sentence
    assert remedy in told.remedy
