"""What is told leaves no secret: no text by itself, no value by its name, no line with the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runner.model import Report, Result
from runner.redaction import MASK, Redactor


def masked(report: Report, redactor: Redactor) -> Report:
    """Return the report without secrets, and without what is no Unicode text.

    Done before anything is cut to a length: half a secret is not recognised.
    """

    def mask(text: str) -> str:
        return redactor.redact(_encodable(text))

    return replace(
        report,
        text=mask(report.text),
        queue=mask(report.queue),
        key=mask(report.key),
        project=mask(report.project),
        facts=_facts(report.facts, redactor),
        topic=mask(report.topic),
        destination=mask(report.destination),
        metrics={
            mask(name): value
            for name, value in report.metrics.items()
            if not _tells(name, str(value), redactor)
        },
        result=_result(report.result, redactor) if report.result else None,
    )


def _facts(facts: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    found = {}
    for name, value in facts.items():
        told_name, told = redactor.redact(_encodable(name)), redactor.redact(_encodable(value))
        found[told_name] = MASK if _tells(told_name, told, redactor) else told
    return found


def _tells(name: str, value: str, redactor: Redactor) -> bool:
    """Tell whether a value is a secret because of its name: ``password``."""
    together = f"{_encodable(name)}={_encodable(value)}"
    return MASK not in together and redactor.redact(together) != together


def _result(result: Result, redactor: Redactor) -> Result:
    lines = redactor.redact(_encodable("\n".join(result.output)))
    return replace(
        result,
        detail=redactor.redact(_encodable(result.detail)),
        output=tuple(lines.split("\n")) if lines else (),
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
