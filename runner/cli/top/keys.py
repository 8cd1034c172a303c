"""What a terminal sends becomes the names of keys; pure, for bytes that come in any pieces."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping

UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "up", "down", "page-up", "page-down", "home", "end"
ENTER, ESCAPE, REDRAW = "enter", "escape", "redraw"

_ESC = "\x1b"
#: CSI and SS3 sequences, whole; and the beginnings of one that is still on its way.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|O[A-Za-z])")
_BEGINNING = re.compile(r"\x1b(?:\[[0-9;?]*|O)?")
_NAMED: Mapping[str, str] = {
    "\x1b[A": UP,
    "\x1bOA": UP,
    "\x1b[B": DOWN,
    "\x1bOB": DOWN,
    "\x1b[5~": PAGE_UP,
    "\x1b[6~": PAGE_DOWN,
    "\x1b[H": HOME,
    "\x1bOH": HOME,
    "\x1b[1~": HOME,
    "\x1b[F": END,
    "\x1bOF": END,
    "\x1b[4~": END,
    "\r": ENTER,
    "\n": ENTER,
    _ESC: ESCAPE,
    "\x0c": REDRAW,
}


class Keys:
    """Reads keys; an escape that may begin a sequence is kept until the next piece, or ``rest``."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""

    @property
    def is_amid(self) -> bool:
        """A sequence has begun, or somebody has pressed Escape: only time tells which."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are certain; a sequence that means nothing here is passed over."""
        self._text += self._decode(data)
        return list(self._keys())

    def rest(self) -> list[str]:
        """Return what is left, taken for keys: nothing more came."""
        text, self._text = self._text, ""
        return [ESCAPE] if text == _ESC else []

    def _keys(self) -> Iterator[str]:
        while self._text:
            if found := _SEQUENCE.match(self._text):
                written = found[0]
            elif _BEGINNING.fullmatch(self._text):
                return
            else:
                written = self._text[0]
            self._text = self._text[len(written) :]
            if written in _NAMED or len(written) == 1:
                yield _NAMED.get(written, written)
