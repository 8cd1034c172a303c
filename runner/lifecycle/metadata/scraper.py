"""Reads an experiment's output as it grows and makes its metadata document (protocol 7.10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import cast

import msgspec

from runner.lifecycle.metadata.document import Document
from runner.lifecycle.metadata.lines import Line, Lines
from runner.lifecycle.metadata.numbers import numbers
from runner.redaction import Redactor

#: The newest lines that the document keeps, and their characters in all.
MAX_ENTRIES = 10_000
MAX_CHARACTERS = 8 * 2**20

_SHORTEST = 3


class Scraper:
    """Fed with output from its first byte on; ``document`` may be asked for at any time.

    A line that is a JSON object is merged, one that is a list of patch operations is applied;
    with ``wrap`` every other line is added to ``/studioml/log``. A line that cannot be used is
    counted and never costs another one.
    """

    def __init__(
        self,
        *,
        wrap: bool = True,
        facts: Callable[[], Mapping[str, object]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``facts`` is the runner's own part, and wins over what an experiment says there."""
        self._wrap = wrap
        self._facts = facts
        self._clock = clock
        self._lines = Lines()
        self._document = Document()
        self._is_empty = True
        #: When the bytes that are being read came, as the document writes it.
        self._seen = ""
        #: Entries and characters since the log was last cut.
        self._new_entries = self._new_characters = 0
        #: The entry that says how many were left out; the first one while there is one.
        self._note: dict[str, str] = {}
        self._left_out = 0
        #: Directives that could not be used.
        self.skipped = 0
        self._document.value["studioml"] = {
            "log": [{"ts": "0", "msg": "Init"}, {"ts": "1", "msg": ""}]
        }

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the output; lines are stamped with the time of this call."""
        self._seen = _stamp(self._clock())
        for line in self._lines.feed(data):
            self._read(line)

    def close(self) -> None:
        """Take a last line that has no end."""
        self._seen = _stamp(self._clock())
        for line in self._lines.close():
            self._read(line)

    def document(self) -> bytes:
        """Return the document as a line of JSON; empty while there is nothing to be said."""
        facts = self._facts()
        if self._is_empty and not facts:
            return b""
        ours = self._document.value.setdefault("studioml", {})
        if isinstance(ours, dict):
            ours.update(facts)
        self._cut_log()
        return self._document.encode() + b"\n"

    def numbers(self) -> dict[str, float]:
        """Return the numbers in the document, by path; not while it is fed."""
        return numbers(self._document.value)

    def _read(self, line: Line) -> None:
        if len(line.text) < _SHORTEST:
            return
        if line.may_be_json:
            self._direct(line.text)
        elif self._wrap:
            self._log(line)

    def _direct(self, text: str) -> None:
        try:
            self._document.apply(msgspec.json.decode(text), len(text))
        except (ValueError, RecursionError):  # no JSON, or Rejected
            self.skipped += 1
        else:
            self._is_empty = False

    def _log(self, line: Line) -> None:
        log = self._log_list()
        if log is None:
            self.skipped += 1
            return
        text = line.text
        if line.dropped:
            text += f" … ({line.dropped} bytes left out)"
        log.append({"ts": self._seen, "msg": text})
        self._is_empty = False
        self._new_entries += 1
        self._new_characters += len(text)
        if self._new_entries > MAX_ENTRIES or self._new_characters > MAX_CHARACTERS:
            self._cut_log()

    def _log_list(self) -> list[object] | None:
        """Return the list that lines are added to; ``None`` where the experiment replaced it."""
        ours = self._document.value.setdefault("studioml", {})
        if not isinstance(ours, dict):
            return None
        log = ours.setdefault("log", [])
        return cast("list[object]", log) if isinstance(log, list) else None

    def _cut_log(self) -> None:
        """Keep the newest entries; seldom enough for the cost to be that of adding them."""
        self._new_entries = self._new_characters = 0
        log = self._log_list()
        if log is None:
            return
        if log and log[0] is self._note:
            del log[0]
        excess = len(log) - _newest(log)
        if excess > 0:
            self._left_out += excess
            del log[:excess]
        if self._left_out:
            self._note = {"ts": "0", "msg": f"… {self._left_out} earlier lines left out"}
            log.insert(0, self._note)


class RedactedScraper:
    """A scraper that never sees a secret, also where one was cut between two chunks."""

    def __init__(self, scraper: Scraper, redactor: Redactor) -> None:
        self._scraper = scraper
        self._stream = redactor.stream()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the output."""
        self._scraper.feed(self._stream.feed(data))

    def close(self) -> None:
        """The output is over."""
        self._scraper.feed(self._stream.close())
        self._scraper.close()

    def document(self) -> bytes:
        """Return the document so far; empty while there is none."""
        return self._scraper.document()

    def numbers(self) -> dict[str, float]:
        """Return the numbers in it, by path."""
        return self._scraper.numbers()


def _newest(log: list[object]) -> int:
    """Count the entries, from the last one back, that fit; at least the last one does."""
    characters = 0
    for count, entry in enumerate(reversed(log)):
        message = entry.get("msg") if isinstance(entry, dict) else None
        characters += len(message) if isinstance(message, str) else 0
        if count == MAX_ENTRIES or (count and characters > MAX_CHARACTERS):
            return count
    return len(log)


def _stamp(moment: float) -> str:
    """Write UTC as ``2006-01-02T15:04:05.999999-0700`` does, without trailing zeros."""
    when = datetime.fromtimestamp(moment, UTC)
    fraction = f".{when.microsecond:06}".rstrip("0").rstrip(".")
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}+0000"
