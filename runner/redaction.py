"""Secrets are a type, and everything that is shown passes the redactor."""

from __future__ import annotations

import base64
import functools
import json
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

#: What stands where a secret was.
MASK = "***"
_MASK = MASK.encode()
#: Shorter values are left alone: masking every "guest" would make a log unreadable.
SHORTEST = 6
#: A private key is searched this far after its first line; longer than any that is in use.
_LONGEST_KEY = 16_384
#: No other secret that is recognised by its form is longer; the rest of a longer one would show.
_LONGEST_LINE = 8_192


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that never shows itself; ``reveal`` is the one way to it, easy to search for."""

    _value: str = ""

    def reveal(self) -> str:
        """Return the value, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class _Form:
    """A secret recognised by its form."""

    name: str
    #: One of these is in every text that holds the form: a search for them is many times faster.
    triggers: tuple[bytes, ...]
    #: Matches no newline, except for the one form that is found by its first line.
    pattern: bytes


_LINE = b"%d" % _LONGEST_LINE
_KEY_BEGIN = rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_FORMS = (
    _Form(
        "pem",
        (b"PRIVATE KEY",),
        _KEY_BEGIN
        + rb"[A-Za-z0-9+/=\s:,.()\\-]{0,%d}?" % _LONGEST_KEY
        + rb"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    _Form("aws", (b"AKIA", b"ASIA"), rb"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _Form(
        "named",
        (b"ecret", b"ECRET", b"assword", b"ASSWORD", b"oken", b"OKEN", b"pi_key", b"PI_KEY"),
        rb"(?i:secret_access_key|secret_key|session_token|password|api_key)"
        rb"[\"']?[ \t]{0,8}[=:][ \t]{0,8}[\"']?(?!\*\*\*)[^\s\"',;&}]{6,%s}" % _LINE,
    ),
    _Form("url", (b"://",), rb"://[^\s/:@\"'<>]{0,256}:(?!\*\*\*@)[^\s/\"'<>]{1,%s}@" % _LINE),
    _Form("slack", (b"hooks.slack.com",), rb"hooks\.slack\.com/[\w/-]{10,256}"),
    _Form("xox", (b"xox",), rb"(?<![A-Za-z0-9])xox[a-z]-[A-Za-z0-9-]{10,512}"),
    _Form("github", (b"gh", b"github_pat"), rb"(?<!\w)(?:gh[a-z]_|github_pat_)\w{20,255}"),
    _Form(
        "bearer", (b"earer", b"EARER"), rb"(?i:bearer)[ \t]{1,4}[A-Za-z0-9._~+/=-]{16,%s}" % _LINE
    ),
)
#: What of a match stays readable: everything up to the last of these bytes before the secret.
_KEPT = {
    "url": re.compile(rb"://[^:]*:"),
    "named": re.compile(rb"[^=:]*[=:][ \t]*[\"']?"),
    "slack": re.compile(rb"hooks\.slack\.com/"),
    "bearer": re.compile(rb"\w+[ \t]+"),
}
_KEY_LINE = re.compile(_KEY_BEGIN)


class Redactor:
    """Masks the values it was told and everything that has the form of a secret."""

    def __init__(self) -> None:
        self._values: tuple[bytes, ...] = ()

    def add(self, *secrets: Secret | str) -> None:
        """Mask these values from now on, also as they look in URLs, JSON and base64."""
        values = set(self._values)
        for secret in secrets:
            text = secret.reveal() if isinstance(secret, Secret) else secret
            # Line by line: a stream would have to hold back lines for a value that spans them.
            for line in {text.strip(), *(part.strip() for part in text.splitlines())}:
                values.update(_looks(line))
        self._values = tuple(sorted(values, key=lambda value: (-len(value), value)))

    def redact(self, text: str) -> str:
        """Return ``text`` with every secret masked."""
        return self.redact_bytes(text.encode("utf-8", "surrogatepass")).decode(
            "utf-8", "surrogatepass"
        )

    def redact_bytes(self, data: bytes) -> bytes:
        """Return ``data`` with every secret masked."""
        stream = self.stream()
        return stream.feed(data) + stream.close()

    def stream(self) -> RedactingStream:
        """Return a redactor for data that arrives in pieces."""
        return RedactingStream(self)

    def _search(self, data: bytes) -> re.Pattern[bytes] | None:
        """Return one pattern for all that can occur in ``data``; ``None`` for nothing."""
        values = tuple(value for value in self._values if value in data)
        forms = tuple(form for form in _FORMS if any(t in data for t in form.triggers))
        return _compiled(values, forms) if values or forms else None

    def _longest(self) -> int:
        longest_value = len(self._values[0]) if self._values else 0
        return max(_LONGEST_KEY + 200, longest_value) + 1


class RedactingStream:
    """Masks secrets in a stream; the result does not depend on how the stream is cut."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._buffer = b""
        #: Bytes before this place are out already; the last one is kept for lookbehind.
        self._place = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take the next piece and return what is certain by now."""
        self._buffer += chunk
        return self._advance(self._certain())

    def close(self) -> bytes:
        """Return what was held back."""
        return self._advance(len(self._buffer))

    def _certain(self) -> int:
        """Return the place before which more data can change no beginning of a match.

        Nothing that begins in a whole line can grow, except for a private key whose end has not
        come; and nothing at all can grow beyond the longest match.
        """
        buffer = self._buffer
        by_length = len(buffer) - self._redactor._longest()  # noqa: SLF001 - two halves of one thing
        by_line = buffer.rfind(b"\n") + 1
        for begin in _KEY_LINE.finditer(buffer, self._place, by_line):
            if not _closed(buffer, begin.start()):
                by_line = begin.start()
                break
        return max(by_length, by_line, self._place)

    def _advance(self, certain: int) -> bytes:
        buffer, place = self._buffer, self._place
        search = self._redactor._search(buffer)  # noqa: SLF001 - two halves of one thing
        out = []
        while search is not None and place < certain:
            found = search.search(buffer, place)
            if found is None or found.start() >= certain:
                break
            out += [buffer[place : found.start()], _masked(found)]
            place = found.end()
        if place < certain:
            out.append(buffer[place:certain])
            place = certain
        kept = max(0, place - 1)
        self._buffer, self._place = buffer[kept:], place - kept
        return b"".join(out)


def _closed(buffer: bytes, start: int) -> bool:
    found = _compiled((), _FORMS[:1]).match(buffer, start)
    return found is not None and found.end() < len(buffer)


def _masked(found: re.Match[bytes]) -> bytes:
    kept = _KEPT.get(found.lastgroup or "")
    prefix = kept.match(found[0]) if kept else None
    tail = b"@" if found.lastgroup == "url" else b""
    return (prefix[0] if prefix else b"") + _MASK + tail


@functools.lru_cache(maxsize=256)
def _compiled(values: tuple[bytes, ...], forms: tuple[_Form, ...]) -> re.Pattern[bytes]:
    parts = [re.escape(value) for value in values]
    parts += [b"(?P<%s>%s)" % (form.name.encode(), form.pattern) for form in forms]
    return re.compile(b"|".join(parts))


def _looks(value: str) -> Iterable[bytes]:
    """Return the ways in which a value may appear."""
    if len(value) < SHORTEST:
        return
    raw = value.encode("utf-8", "surrogatepass")
    if b"\n" not in raw:
        yield raw
    yield urllib.parse.quote(raw, safe="").encode()
    yield urllib.parse.quote_plus(raw).encode()
    yield json.dumps(value)[1:-1].encode()
    yield json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    yield base64.b64encode(raw).rstrip(b"=")
