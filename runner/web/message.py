"""What comes in over HTTP and what goes out, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from runner.model import NOTHING
from runner.web.peers import Peer

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
#: Methods that only look; they need no proof of where they come from.
SAFE = frozenset({"GET", "HEAD"})
#: The method of what changes something and shows nothing.
ACTS = frozenset({"POST"})
_MOST_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole; everything in it is untrusted."""

    method: str
    #: Without the query.
    path: str
    #: By name in lower case.
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    body: bytes = b""
    #: What stands behind the ``?``, as it came.
    query: str = ""
    #: Who asks; ``None``: nobody knows.
    peer: Peer | None = None

    def header(self, name: str) -> str:
        """Return a header by its name in lower case; empty where there is none."""
        return self.headers.get(name, "")

    def asked(self, name: str) -> str:
        """Return the first value of a name in the query; empty where there is none.

        Of a query with more fields than any page has, nothing is taken.
        """
        try:
            fields = parse_qs(self.query, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return ""
        return fields.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING)


def sentence(status: int, text: str, **headers: str) -> Answer:
    """Return one sentence for a person; ``www_authenticate="Bearer"`` adds that header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, f"{text}\n".encode("utf-8", "backslashreplace"), headers=named)


def document(value: Mapping[str, Any]) -> Answer:
    """Return a JSON document."""
    return Answer(200, json.dumps(value, default=str).encode() + b"\n", JSON)
