"""Reports as their readers get them, ours and those of the original: opened, and in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.errors import RunnerError

if TYPE_CHECKING:  # it takes 40 ms, which only who has keys is to pay
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_UNKNOWN, _SIGNALLED, _HIGHEST = 1, 128, 255
#: Shown before a line unless it is an ordinary one.
_ORDINARY = frozenset({"Default", "Info"})
_FINAL = {"Success": True, "Failed": False}


class NotForUs(RunnerError):
    """The message is sealed for another key, or is no report."""


@dataclass(frozen=True, slots=True)
class Told:
    """One report."""

    document: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The experiment's; empty where the report is about none."""
        return _text(self.document, "experimentId")

    @property
    def time(self) -> str:
        """When it was made, in RFC 3339; empty where it does not say."""
        return _text(self.document, "time")

    @property
    def status(self) -> int | None:
        """The exit status that the experiment ended with; ``None`` while it has not ended."""
        progress = _object(self.document, "progress")
        is_good = _FINAL.get(_text(progress, "state"))
        if is_good is None:
            return None
        return 0 if is_good else _status(_object(progress, "error").get("code"))

    @property
    def words(self) -> list[str]:
        """What it says, in lines for people."""
        if "logging" in self.document:
            return _of_log(_object(self.document, "logging"))
        if "progress" in self.document:
            return _of_progress(_object(self.document, "progress"))
        return _text(self.document, "text").split("\n")


def read(body: bytes, key: RSAPrivateKey | None) -> Told:
    """Open a message of a response queue. Raises NotForUs, saying why it cannot be read."""
    if not body.lstrip().startswith(b"{"):
        body = _unsealed(body, key)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise NotForUs("it is no report: what is in it is no JSON") from None
    if not isinstance(document, dict) or not document.keys() & {"time", "executorId"}:
        raise NotForUs("it is no report of a runner")
    return Told(document)


def _unsealed(body: bytes, key: RSAPrivateKey | None) -> bytes:
    if key is None:
        raise NotForUs("it is sealed: name the key that opens it with --private-key")
    from runner.privacy.payload import BadSeal, unseal  # noqa: PLC0415 - see above

    try:
        return unseal(body.decode("ascii").strip(), key)
    except (BadSeal, UnicodeDecodeError):
        raise NotForUs("it is sealed for another key") from None


def _of_log(entry: Mapping[str, Any]) -> list[str]:
    lines = _text(entry, "message").split("\n")
    severity = _text(entry, "severity") or "Default"
    if severity not in _ORDINARY:
        lines[0] = f"{severity}: {lines[0]}"
    fields = _object(entry, "fields")
    if fields:
        lines[-1] += " (" + ", ".join(f"{name}={value}" for name, value in fields.items()) + ")"
    return lines


def _of_progress(progress: Mapping[str, Any]) -> list[str]:
    fragment, error = _text(progress, "json"), _text(_object(progress, "error"), "msg")
    if fragment:
        return [f"[json] {fragment}"]
    state = _text(progress, "state") or "Prestart"
    return [f"[{state}]" + (f" {error}" if error else "")]


def _status(code: object) -> int:
    """Return the exit status that stands for a code; one of a signal is negative."""
    if not isinstance(code, int) or not code:
        return _UNKNOWN
    return min(_SIGNALLED - code if code < 0 else code, _HIGHEST)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
