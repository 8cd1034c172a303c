"""An examination ends, whatever its subjects do, and says what each of them did."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from runner.doctor.check import Area, Check, Finding, Verdict, ok
from runner.doctor.examination import Examination, Look, Subject, Tell, tell_all
from runner.errors import QueueDenied
from runner.redaction import Redactor

pytestmark = pytest.mark.anyio


async def examined(*looks: Look, patience: float = 20.0, secret: str = "") -> list[Check]:
    """Look at subjects that are called by their numbers."""
    found: list[Check] = []
    over: list[Subject] = []
    redactor = Redactor()
    redactor.add(secret)
    subjects = [
        Subject(str(number), Area.HOST, look, patience) for number, look in enumerate(looks)
    ]
    await Examination(subjects, found.append, redactor, over.append).run()
    assert {one.name for one in over} == {one.name for one in subjects}
    return found


async def well(tell: Tell) -> None:
    """Find nothing wrong."""
    tell(ok("well"))


async def test_a_subject_that_hangs_costs_its_own_time_alone() -> None:
    """It is told as failed, with how long it was waited for, after what it had to say."""

    async def hang(tell: Tell) -> None:
        tell(ok("so far"))
        await anyio.sleep_forever()

    checks = await examined(hang, well, patience=0.1)
    assert [check.sentence for check in checks if check.name == "0"] == [
        "so far",
        "no answer within 0.1 s",
    ]
    assert [check.verdict for check in checks if check.name == "1"] == [Verdict.OK]


async def test_a_thread_that_hangs_keeps_nobody() -> None:
    """As in a dead file system: what was found before is told, and nobody waits for the rest."""
    answers = threading.Event()

    def findings() -> Iterator[Finding]:
        yield ok("so far")
        answers.wait()

    async def hang(tell: Tell) -> None:
        await tell_all(findings, tell)

    try:
        checks = await examined(hang, well, patience=0.1)
    finally:
        answers.set()
    said = [check.sentence for check in checks if check.name == "0"]
    assert said == ["so far", "no answer within 0.1 s"]


async def test_what_is_raised_is_a_finding() -> None:
    """Our own errors are their sentence, an OSError is the machine's, the rest is our bug."""

    async def denied(_: Tell) -> None:
        raise QueueDenied("no right")

    async def full(_: Tell) -> None:
        raise OSError(28, "No space left on device")

    async def bug(_: Tell) -> None:
        raise KeyError("oh")

    checks = await examined(denied, full, bug)
    assert {check.verdict for check in checks} == {Verdict.FAILED}
    sentences = {check.name: check.sentence for check in checks}
    assert sentences["0"] == "no right"
    assert "No space left" in sentences["1"]
    assert "the doctor itself failed: KeyError" in sentences["2"]


async def test_each_error_of_a_group_is_told() -> None:
    """Looks that go on beside each other may fail of several things."""

    async def both(_: Tell) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_raise, "one")
            group.start_soon(_raise, "two")

    checks = await examined(both)
    assert sorted(check.sentence for check in checks) == ["one", "two"]


async def test_secrets_are_masked() -> None:
    """Whatever a broker repeats in its refusal."""

    async def leak(tell: Tell) -> None:
        tell(ok("it says hunter2hunter2", about="hunter2hunter2"))

    (check,) = await examined(leak, secret="hunter2hunter2")
    assert check.sentence == "it says ***"
    assert check.about == "***"


async def _raise(sentence: str) -> None:
    await anyio.lowlevel.checkpoint()
    raise QueueDenied(sentence)
