"""Masks what is secret in text and in streams, wherever they are cut."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from runner.redaction.forms import FORMS, KEY, LONGEST
from runner.redaction.known import Known
from runner.redaction.looks import looks
from runner.redaction.secret import MASK, Secret

_MASK = MASK.encode()
#: Of a line without an end so much is gathered before it is searched again.
_BATCH = 4_096
#: News of what ended may still be under way: its secrets are forgotten after so many others.
_KEPT_OWNERS = 32
#: Characters of a text that is remembered, and how many are.
_SHORT, _MOST_REMEMBERED = 500, 4_000


class Redactor:
    """Masks the values it was told and everything that has the form of a secret.

    Used by all threads.
    """

    def __init__(self) -> None:
        self._known = Known()
        self._changing = threading.Lock()
        self._for_good: set[bytes] = set()
        #: What was learned of whom; those who ended are the first ones.
        self._owners: dict[str, frozenset[bytes]] = {}
        self._ended: list[str] = []
        #: What texts of plain data became; begun anew whenever something else is secret.
        self._remembered: dict[str, str] = {}

    def add(self, *secrets: Secret | str) -> None:
        """Mask these values from now on, also as they look in URLs, JSON and base64."""
        with self._changing:
            new = _all_looks(secrets) - self._for_good
            self._for_good |= new
            self._known.add(new)
            self._remembered = {}

    def learn(self, owner: str, secrets: Iterable[Secret | str]) -> None:
        """Mask these until ``forget``, in the place of what was learned of the owner before."""
        found = _all_looks(secrets)
        with self._changing:
            before = self._owners.get(owner, frozenset())
            self._known.add(found)
            self._known.remove(before)
            self._remembered = {}
            self._owners[owner] = found
            if owner in self._ended:
                self._ended.remove(owner)

    def forget(self, owner: str) -> None:
        """Say that the owner has ended: what was learned of it goes, a while after that."""
        with self._changing:
            if owner in self._owners and owner not in self._ended:
                self._ended.append(owner)
            while len(self._ended) > _KEPT_OWNERS:
                self._known.remove(self._owners.pop(self._ended.pop(0)))
                self._remembered = {}

    def redact(self, text: str) -> str:
        """Return ``text`` with every secret masked."""
        return self.redact_bytes(text.encode("utf-8", "surrogatepass")).decode(
            "utf-8", "surrogatepass"
        )

    def redact_all(self, value: Any) -> Any:
        """Return plain data, of objects and lists, with every secret in its texts masked.

        Who asks for the same data again and again is answered from memory, text by text.
        """
        if isinstance(value, str):
            return self._redact_again(value)
        if isinstance(value, dict):
            return {name: self.redact_all(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_all(one) for one in value]
        return value

    def _redact_again(self, text: str) -> str:
        # Taken before it is searched: what is added meanwhile has another one.
        remembered = self._remembered
        found = remembered.get(text)
        if found is None:
            found = self.redact(text)
            if len(text) <= _SHORT:
                if len(remembered) >= _MOST_REMEMBERED:
                    remembered.clear()
                remembered[text] = found
        return found

    def redact_bytes(self, data: bytes) -> bytes:
        """Return ``data`` with every secret masked."""
        stream = self.stream()
        return stream.feed(data) + stream.close()

    def stream(self) -> RedactingStream:
        """Return a redactor for data that arrives in pieces."""
        return RedactingStream(self._known)


class RedactingStream:
    """Masks secrets in a stream; the result does not depend on how the stream is cut."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._buffer = b""
        #: Bytes before this place are out already; the last one is kept for lookbehind.
        self._place = 0
        #: Where the last mask ends, which may be beyond.
        self._covered = 0
        #: Where the last match of each form ends, which may be beyond.
        self._resumed: dict[str, int] = {}

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
        by_length = len(buffer) - max(LONGEST, self._known.longest) - 1
        by_line = buffer.rfind(b"\n", self._place) + 1
        for begin, end, _, _ in KEY.spans(buffer, self._from(KEY.name)):
            if end >= by_line:
                by_line = min(by_line, begin)
                break
        if by_line <= self._place and by_length - self._place < _BATCH:
            return self._place
        return max(by_length, by_line)

    def _advance(self, certain: int) -> bytes:
        if certain <= self._place:
            return b""
        spans, certain = self._spans(certain)
        out, done = [], max(self._place, self._covered)
        for start, end in spans:
            if start >= self._covered:
                out += [self._buffer[done:start], _MASK]
            done = self._covered = max(self._covered, end)
        out.append(self._buffer[done:certain])
        self._trim(certain)
        return b"".join(out)

    def _spans(self, certain: int) -> tuple[list[tuple[int, int]], int]:
        """Return the secrets that begin before ``certain``, and how far that is after all.

        What leads to a secret goes out with it.
        """
        found = [
            (form.name, *match)
            for form in FORMS
            for match in form.spans(self._buffer, self._from(form.name))
        ]
        while straddling := [begin for _, begin, _, start, _ in found if begin < certain <= start]:
            certain = min(straddling)
        taken = [match for match in found if match[3] < certain]
        self._resumed |= {form: end for form, _, end, _, _ in taken}
        spans = [(start, stop) for _, _, _, start, stop in taken]
        for value in self._known.found(self._buffer):
            spans += _places(self._buffer, value, self._place, certain)
        return sorted(spans), certain

    def _from(self, form: str) -> int:
        return max(self._place, self._resumed.get(form, 0))

    def _trim(self, place: int) -> None:
        kept = max(0, place - 1)
        self._buffer, self._place = self._buffer[kept:], place - kept
        self._covered = max(0, self._covered - kept)
        self._resumed = {name: end - kept for name, end in self._resumed.items() if end > place}


def _places(data: bytes, value: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield where the value is, also where it overlaps itself."""
    place = data.find(value, start)
    while 0 <= place < stop:
        yield place, place + len(value)
        place = data.find(value, place + 1)


def _all_looks(secrets: Iterable[Secret | str]) -> frozenset[bytes]:
    texts = (one.reveal() if isinstance(one, Secret) else one for one in secrets)
    return frozenset(look for text in texts for look in looks(text))
