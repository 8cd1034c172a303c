"""The looks that a secret takes on its way to people: quoted, escaped, encoded, line by line."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterator

#: Shorter values are left alone: masking every "guest" would make a log unreadable.
SHORTEST = 6
#: A shift by so many bytes changes the whole of a base64 text: ``user:`` before a password.
_SHIFTS = (0, 1, 2)
_CODE = re.compile("%[0-9A-F]{2}")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def looks(secret: str) -> frozenset[bytes]:
    """Return the ways in which a secret may appear, none of which holds a newline.

    Line by line: a stream would have to hold back lines for a value that spans them.
    """
    text = secret.strip()
    parts = {text, *(part.strip() for part in text.splitlines())}
    return frozenset(look for part in parts if len(part) >= SHORTEST for look in _looks(part))


def _looks(value: str) -> Iterator[bytes]:
    raw = value.encode("utf-8", "surrogatepass")
    if b"\n" not in raw:
        yield raw
    yield from _quoted(raw)
    yield from _escaped(value)
    yield raw.hex().encode()
    for shift in _SHIFTS:
        for found in _base64(raw, shift):
            yield found
            yield found.translate(_URL_SAFE)


def _quoted(raw: bytes) -> Iterator[bytes]:
    """Return it as it is written in addresses and in forms."""
    for safe in ("", "/"):
        quoted = urllib.parse.quote(raw, safe=safe)
        yield quoted.encode()
        yield _CODE.sub(lambda code: code[0].lower(), quoted).encode()
    yield urllib.parse.quote_plus(raw).encode()


def _escaped(value: str) -> Iterator[bytes]:
    """Return it as it is written in JSON, once and twice, in Python's own form and in HTML."""
    for is_ascii in (True, False):
        once = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
        yield _encoded(once)
        yield _encoded(json.dumps(once, ensure_ascii=is_ascii)[1:-1])
    yield _encoded(repr(value)[1:-1])
    # As part of a text that has quotes of both kinds, where one of them is escaped.
    both = "\"'"
    yield _encoded(repr(both + value)[len(repr(both)) - 1 : -1])
    yield _encoded(repr(value.encode("utf-8", "surrogatepass"))[2:-1])
    if "\n" not in value:
        yield _encoded(html.escape(value))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _base64(raw: bytes, shift: int) -> Iterator[bytes]:
    """Return what does not depend on what stands before, and may depend on what comes after."""
    text = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
    first, whole = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
    yield text[first:whole]
    yield text[first:]
