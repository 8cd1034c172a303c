"""What the doctor says of the keys of sealed requests."""

from __future__ import annotations

import shutil

import pytest

from runner.doctor import keys
from runner.doctor.check import Verdict
from tests.doctor.conftest import Clinic, Found
from tests.privacy.sealing import laid_out

pytestmark = pytest.mark.anyio


def _options(clinic: Clinic) -> tuple[str, ...]:
    place = laid_out(clinic.root / "keys", "rmq_")
    signing = str(place / "signing")
    return ("--encrypt-dir", str(place / "message"), "--request-signatures-dir", signing)


async def _seen(clinic: Clinic, *argv: str) -> Found:
    return await clinic.look(keys.look, await clinic.patient(*argv))


async def test_keys_that_work_are_told(clinic: Clinic) -> None:
    """How long the one is, and for which queues there are others."""
    found = await _seen(clinic, *_options(clinic))
    assert found.verdicts == [Verdict.OK, Verdict.OK]
    assert found.saying("4096 bits").verdict is Verdict.OK
    assert found.saying("queues that begin with rmq_").verdict is Verdict.OK


async def test_keys_that_are_missing_are_failures(clinic: Clinic) -> None:
    """Of both kinds."""
    options = _options(clinic)
    shutil.rmtree(clinic.root / "keys")
    found = await _seen(clinic, *options)
    assert found.verdicts == [Verdict.FAILED, Verdict.FAILED]


async def test_clear_text_beside_keys_is_mentioned(clinic: Clinic) -> None:
    """It is what somebody wanted once, for a while."""
    found = await _seen(clinic, *_options(clinic), "--clear-text-messages")
    assert found.saying("clear text").verdict is Verdict.WARNING


async def test_without_keys_there_is_nothing_to_look_at(clinic: Clinic) -> None:
    """Unless there were some before: then nothing at all is believed."""
    assert (await _seen(clinic)).verdicts == [Verdict.SKIPPED]
    (clinic.root / "state").mkdir(exist_ok=True)
    (clinic.root / "state" / "keys-seen").touch()
    assert (await _seen(clinic)).verdicts == [Verdict.FAILED]


async def test_keys_of_response_queues_are_told(clinic: Clinic) -> None:
    """Whose they are, and that there are none; and what everybody can read."""
    place = clinic.root / "response"
    place.mkdir()
    options = ("--response-signatures-dir", str(place))
    assert (await _seen(clinic, *options)).saying("sealed for nobody").verdict is Verdict.FAILED
    public = laid_out(clinic.root / "keys", "rmq_") / "client" / "public.pem"
    shutil.copy(public, place / "rmq_ann")
    found = await _seen(clinic, *options, "--clear-text-responses")
    assert found.saying("queues that begin with rmq_ann").verdict is Verdict.OK
    assert found.saying("in clear text where").verdict is Verdict.WARNING


async def test_half_of_the_keys_is_a_failure(clinic: Clinic) -> None:
    """The daemon would not start."""
    found = await _seen(clinic, "--encrypt-dir", str(clinic.root))
    assert "--request-signatures-dir" in found.saying("is given without").sentence
