"""Reports as documents: the messages of protocol section 2.10 in the JSON mapping of proto3. Pure.

Members that have their type's zero are left out, as the mapping says: a state ``Prestart``, a
severity ``Default``. Wrapped strings are there also when they are empty.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

_SECOND = 10**9
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1


class Severity(enum.StrEnum):
    """``LogSeverity``; by name, as JSON has them."""

    DEFAULT = "Default"
    TRACE = "Trace"
    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    FATAL = "Fatal"


class State(enum.StrEnum):
    """``TaskState``."""

    PRESTART = "Prestart"
    STARTED = "Started"
    STOPPING = "Stopping"
    FAILED = "Failed"
    SUCCESS = "Success"


def timestamp(nanoseconds: int) -> str:
    """Write nanoseconds since the epoch in RFC 3339, with 0, 3, 6 or 9 digits of the second."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    digits = f"{rest:09d}"
    for zeros in ("000000000", "000000", "000"):
        if digits.endswith(zeros):
            digits = digits[: -len(zeros)]
            break
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}{'.' if digits else ''}{digits}Z"


def entry(
    message: str,
    at: int,
    severity: Severity = Severity.INFO,
    fields: Mapping[str, str] | None = None,
) -> Document:
    """Return the payload of a report with a line of a log; ``at``: nanoseconds since the epoch."""
    made: Document = {"time": timestamp(at), "severity": severity.value, "message": message}
    if severity is Severity.DEFAULT:
        del made["severity"]
    if fields:
        made["fields"] = dict(fields)
    return {"logging": made}


def progress(
    state: State, at: int, *, fragment: str | None = None, error: tuple[str, int] | None = None
) -> Document:
    """Return the payload of a report with how far it is.

    ``fragment``: JSON that the experiment wrote, as text; ``error``: what went wrong, and a code.
    """
    made: Document = {"time": timestamp(at)}
    if fragment is not None:
        made["json"] = fragment
    if state is not State.PRESTART:
        made["state"] = state.value
    if error is not None:
        message, code = error
        made["error"] = {"msg": message, **({"code": _within(code)} if code else {})}
    return {"progress": made}


def report(
    payload: Document, at: int, *, executor: str, experiment: str = "", unique: str = ""
) -> Document:
    """Return a whole report; what is empty of the names is not said."""
    names = {"experimentId": experiment, "uniqueId": unique, "executorId": executor}
    return {
        "time": timestamp(at),
        **{name: text for name, text in names.items() if text},
        **payload,
    }


def encoded(document: Document) -> bytes:
    """Return the bytes of a report; what is no Unicode text in it is escaped for people."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _within(code: int) -> int:
    return min(max(code, _LOWEST), _HIGHEST)
