"""Text as Slack takes it: what a message holds can neither link, nor call anybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Block = dict[str, Any]

#: Slack's own limits (Block Kit); what is longer is refused as a whole.
SECTION, FIELD, BLOCKS, FIELDS = 3000, 2000, 50, 10
#: Of all texts of a message together: some 11,000 were refused (msg_blocks_too_long), with blocks
#: that each kept their own limit. Nowhere documented, so we stay well below it.
MESSAGE = 9000
#: A text beside blocks is shown in notifications alone.
FALLBACK = 1000
#: Room for the fences of code.
_FENCES = 10
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CUT = "…"
#: Stands for a back tick inside of code, which would end there.
_NO_TICK = "\N{MODIFIER LETTER APOSTROPHE}"


def escaped(text: str, limit: int = SECTION) -> str:
    """Return a text as one line that can neither link nor call, cut with its escapes counted."""
    return _cut(_pieces(" ".join(text.split())), limit)


def code(lines: Sequence[str], limit: int = SECTION) -> str:
    """Return the last of these lines as a block of code; empty where there is none."""
    room, kept = limit - _FENCES, list[str]()
    for line in reversed(lines):
        shown = _cut(_pieces(line.expandtabs(4).replace("`", _NO_TICK)), room // 2)
        if len(shown) + 1 > room:
            break
        room -= len(shown) + 1
        kept.append(shown)
    body = "\n".join(reversed(kept))
    return f"```\n{body}\n```" if body.strip() else ""


def section(text: str) -> Block:
    """Return a paragraph; ``text`` is escaped already, and short enough."""
    return {"type": "section", "text": _mrkdwn(text)}


def fields(values: Mapping[str, str], limit: int = FIELD - 100) -> Block:
    """Return a table of names and values; what is empty is left out."""
    shown = [
        _mrkdwn(f"*{name}*\n{escaped(value, limit)}") for name, value in values.items() if value
    ]
    return {"type": "section", "fields": shown[:FIELDS]}


def context(*texts: str) -> Block:
    """Return a line in small print; ``texts`` are escaped already."""
    return {"type": "context", "elements": [_mrkdwn(text) for text in texts if text]}


def _mrkdwn(text: str) -> Block:
    # Verbatim: an address in a log is no link, and "@channel" calls nobody.
    return {"type": "mrkdwn", "text": text or " ", "verbatim": True}


def _pieces(text: str) -> Iterable[str]:
    for character in text:
        if character.isprintable():
            yield _ESCAPED.get(character, character)
        else:
            yield " "


def _cut(pieces: Iterable[str], limit: int) -> str:
    """Join what fits; an escape is never cut in two."""
    kept, room = list[str](), limit - len(_CUT)
    for piece in pieces:
        if len(piece) > room:
            return "".join(kept) + _CUT
        kept.append(piece)
        room -= len(piece)
    return "".join(kept)
