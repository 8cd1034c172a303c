"""What the doctor says about container images: a container is started for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.doctor import containers
from runner.doctor.check import Verdict
from runner.images import apptainer
from tests.doctor.conftest import Clinic
from tests.passage import open_to_all

pytestmark = pytest.mark.anyio


@pytest.mark.service("apptainer")
async def test_the_operators_image_is_started(clinic: Clinic, image: Path) -> None:
    """What may be named, what starts and what is kept; nothing is left in the state directory."""
    open_to_all(clinic.root)
    argv = ("--container", str(image), "--image-cache-size", "3gb", "--trusted-images", "/srv/x/*")
    found = await clinic.look(containers.look, await clinic.patient(*argv))
    assert found.verdicts == [Verdict.OK] * 3, found
    assert "/srv/x/*" in found.about("trusted images").sentence
    assert "starts containers here" in found.about("start").sentence
    assert "3.0 GB at most" in found.about("kept images").sentence
    assert not (clinic.root / "state" / "images").exists()


@pytest.mark.service("apptainer")
async def test_what_is_no_image_is_failed(clinic: Clinic) -> None:
    """With Apptainer's reason; without ``--container`` the machine's own programs would do."""
    open_to_all(clinic.root)
    empty = clinic.root / "empty"
    empty.mkdir()
    found = await clinic.look(containers.look, await clinic.patient("--container", str(empty)))
    assert found.about("start").verdict is Verdict.FAILED
    found = await clinic.look(containers.look, await clinic.patient())
    assert found.about("start").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("argv", "verdict"), [((), Verdict.SKIPPED), (("--container", "/"), Verdict.FAILED)]
)
async def test_without_apptainer_it_counts_who_wants_images(
    clinic: Clinic,
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    verdict: Verdict,
) -> None:
    """Experiments with an image are left to others, unless the operator wants all in one."""
    monkeypatch.setattr(apptainer, "PATH", "/gone")
    monkeypatch.setenv("PATH", "/gone")
    told = (await clinic.look(containers.look, await clinic.patient(*argv))).about("start")
    assert told.verdict is verdict
    assert "neither apptainer nor singularity" in told.sentence
    assert "https://apptainer.org" in told.remedy


async def test_an_option_that_cannot_be_is_failed(clinic: Clinic) -> None:
    """Named as it was written; nothing is started for it."""
    found = await clinic.look(containers.look, await clinic.patient("--container", "/gone/x.sif"))
    (told,) = found.findings
    assert told.verdict is Verdict.FAILED
    assert "/gone/x.sif" in told.sentence
