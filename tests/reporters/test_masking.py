"""Nothing secret leaves in a report, in whatever part of it."""

from __future__ import annotations

from runner.model import News, Report, Result
from runner.redaction import Redactor
from runner.reporters.masking import masked

SECRET = "sk-0123456789abcdef"
KEY = ("-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0", "-----END PRIVATE KEY-----")


def test_every_part_is_masked() -> None:
    """Each text by itself, also as the name of something."""
    redactor = Redactor()
    redactor.add(SECRET)
    report = Report(
        News.ENDED,
        f"a {SECRET}",
        queue=SECRET,
        key=SECRET,
        project=SECRET,
        facts={SECRET: SECRET},
        topic=SECRET,
        destination=SECRET,
        metrics={SECRET: 1.0},
        result=Result("failed", "acked", detail=SECRET, output=(SECRET, f"b {SECRET}")),
    )
    assert SECRET not in repr(masked(report, redactor))


def test_a_secret_over_several_lines_is_masked() -> None:
    """A private key in the output is one secret, though it is many lines."""
    report = Report(News.ENDED, "x", result=Result("failed", "acked", output=("a", *KEY, "b")))
    found = masked(report, Redactor()).result
    assert found is not None
    assert found.output == ("a", "***", "b")


def test_a_value_is_masked_for_its_name() -> None:
    """What is called a password is one; a number of that name is not told at all."""
    report = Report(
        News.WARNING,
        "x",
        facts={"password": "correct horse", "api_key": "abcdefgh", "seconds": "12.345"},
        metrics={"secret_key": 123456.0, "loss": 0.5},
    )
    found = masked(report, Redactor())
    assert found.facts == {"password": "***", "api_key": "***", "seconds": "12.345"}
    assert found.metrics == {"loss": 0.5}
