"""The lines on the control socket: one request, then items, then ``done`` or ``error``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runner.errors import RunnerError

#: Bytes of one line; a longer one is an error of the sender.
LONGEST_LINE = 1 << 20

Item = dict[str, Any]


class BadLine(RunnerError):
    """A line on the control socket is not what the protocol says."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The answer ends here, for the reason given in one sentence."""

    sentence: str


def request_line(verb: str, arguments: Item) -> bytes:
    """Write a request."""
    return _line({"verb": verb, "arguments": arguments})


def item_line(item: Item) -> bytes:
    """Write one item of an answer."""
    return _line({"item": item})


def end_line(end: Done | Problem) -> bytes:
    """Write the end of an answer."""
    return _line({"done": True} if isinstance(end, Done) else {"error": end.sentence})


def parse_request(line: bytes) -> tuple[str, Item]:
    """Return verb and arguments. Raises BadLine."""
    document = _document(line)
    verb, arguments = document.get("verb"), document.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise BadLine('a request is {"verb": "NAME", "arguments": {…}} on one line')
    return verb, arguments


def parse_answer(line: bytes) -> Item | Done | Problem:
    """Return what one line of an answer says. Raises BadLine."""
    document = _document(line)
    if isinstance(document.get("item"), dict):
        item: Item = document["item"]
        return item
    if document.get("done"):
        return Done()
    if "error" in document:
        return Problem(str(document["error"]))
    raise BadLine("a line of the answer is neither an item nor an end")


def _line(document: Item) -> bytes:
    return json.dumps(document, separators=(",", ":"), default=str).encode() + b"\n"


def _document(line: bytes) -> Item:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("a line is not JSON") from error
    if not isinstance(document, dict):
        raise BadLine("a line is not a JSON object")
    return document
