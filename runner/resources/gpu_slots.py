"""How many compute slots a card has (protocol section 6.5), and the operator's own table of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from runner.errors import Misconfigured
from runner.model import NO_NUMBERS, Bytes

#: What the reference runner gives to the cards that it knows, by a part of their names.
KNOWN = {
    "GTX 1050": 2,
    "GTX 1060": 2,
    "GTX 1070": 2,
    "GTX 1080": 2,
    "TITAN X": 2,
    "RTX 2080 Ti": 2,
    "K80": 2,
    "P40": 4,
    "P100": 8,
    "V100": 16,
    "A100-SXM4-40GB": 24,
}
#: Cards that it does not know, on its scale: roughly how fast a card trains, in steps from a
#: GTX 1080 (2) over a V100 (16) to an A100 (24). Memory has no part in it: it is asked for by size.
NEWER = {
    # data centre
    **dict.fromkeys(("K20", "K40", "M10", "M40", "M60", "P4", "P6", "A2"), 2),
    **dict.fromkeys(("T4", "A16"), 4),
    **dict.fromkeys(("L4",), 8),
    **dict.fromkeys(("A10", "A10G", "A10M", "GB10"), 12),
    **dict.fromkeys(("A30", "A40", "L20", "H20"), 16),
    **dict.fromkeys(("A100", "A100X", "A800", "L40"), 24),
    **dict.fromkeys(("L40G", "L40S"), 32),
    **dict.fromkeys(("H100", "H200", "H800", "GH200"), 48),
    **dict.fromkeys(("B100", "B200", "GB200", "B300", "GB300"), 96),
    # workstations
    **dict.fromkeys(("TITAN Xp", "TITAN V", "RTX A400", "RTX A500", "RTX A1000"), 2),
    **dict.fromkeys(("TITAN RTX", "Quadro RTX 4000", "Quadro RTX 5000", "RTX A2000"), 4),
    **dict.fromkeys(("Quadro RTX 6000", "Quadro RTX 8000", "Quadro P6000"), 4),
    **dict.fromkeys(("Quadro GP100",), 8),
    **dict.fromkeys(("Quadro GV100",), 16),
    **dict.fromkeys(("RTX 2000 Ada", "RTX A3000"), 4),
    **dict.fromkeys(("RTX A4000", "RTX A4500", "RTX 3500 Ada", "RTX PRO 2000"), 8),
    **dict.fromkeys(("RTX 4000 Ada", "RTX 4000 SFF Ada"), 8),
    **dict.fromkeys(("RTX A5000", "RTX A5500", "RTX 4500 Ada", "RTX PRO 4000"), 12),
    **dict.fromkeys(("RTX A6000", "RTX 5000 Ada", "RTX PRO 4500"), 16),
    **dict.fromkeys(("RTX 5880 Ada", "RTX PRO 5000"), 24),
    **dict.fromkeys(("RTX 6000 Ada",), 32),
    **dict.fromkeys(("RTX PRO 6000",), 48),
    # GeForce
    **dict.fromkeys(("GTX 1630", "GTX 1650", "GTX 1660"), 2),
    **dict.fromkeys(("RTX 2050", "RTX 2060", "RTX 2070", "RTX 2080"), 2),
    **dict.fromkeys(("RTX 3050", "RTX 3060", "RTX 4050", "RTX 5050"), 2),
    **dict.fromkeys(("RTX 3060 Ti", "RTX 3070", "RTX 3070 Ti"), 4),
    **dict.fromkeys(("RTX 4060", "RTX 4060 Ti", "RTX 5060"), 4),
    **dict.fromkeys(("RTX 3080", "RTX 3080 Ti", "RTX 4070", "RTX 4070 SUPER"), 8),
    **dict.fromkeys(("RTX 5060 Ti", "RTX 5070"), 8),
    **dict.fromkeys(("RTX 3090", "RTX 3090 Ti", "RTX 4070 Ti", "RTX 4070 Ti SUPER"), 12),
    **dict.fromkeys(("RTX 4080", "RTX 4080 SUPER", "RTX 5070 Ti", "RTX 5080"), 16),
    **dict.fromkeys(("RTX 4090 D", "RTX 5090 D"), 24),
    **dict.fromkeys(("RTX 4090",), 24),
    **dict.fromkeys(("RTX 5090",), 32),
    # with the name of a larger one, the chip of a smaller one
    **dict.fromkeys(("RTX 3060 Laptop", "RTX 3070 Laptop", "RTX 3070 Ti Laptop"), 2),
    **dict.fromkeys(("RTX 3080 Laptop", "RTX 3080 Ti Laptop", "RTX 4070 Laptop"), 4),
    **dict.fromkeys(("RTX 5070 Laptop", "RTX 5060 Laptop"), 4),
    **dict.fromkeys(("RTX 4080 Laptop", "RTX 5070 Ti Laptop"), 8),
    **dict.fromkeys(("RTX 4090 Laptop", "RTX 5080 Laptop"), 12),
    **dict.fromkeys(("RTX 5090 Laptop",), 16),
    **dict.fromkeys(("RTX 5000 Ada Generation Laptop",), 12),
    **dict.fromkeys(("RTX 4000 Ada Generation Laptop",), 8),
}
#: Any other card has a slot for each started piece of this size.
MEMORY_PER_SLOT = 2 << 30
#: Into how many slices MIG divides a card; all others into seven.
_SLICES = {"A30": 4, "RTX PRO 6000": 4}
_USUAL_SLICES = 7

_MIG = "mig"
_PROFILE = re.compile(r"(?:([0-9]+)c\.)?([0-9]+)g\.[0-9]+gb")
_LINE = re.compile(r"([+-]?[0-9]+)\s+(\S.*)")
_MOST = 10_000

_Words = tuple[str, ...]


class SlotTable:
    """Slots of cards by their names: the operator's lines first, then what is known here."""

    def __init__(self, own: Mapping[str, float] = NO_NUMBERS) -> None:
        """``own``: slots by a part of a name."""
        self._own = {_words(part): int(number) for part, number in own.items()}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the operator's file: a line each, slots and a part of a name; ``#`` comments.

        Raises Misconfigured, naming the line.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise Misconfigured(
                f"--gpu-slots-file {path} cannot be read: {why}; mend that, or leave the option out"
            ) from error
        own: dict[str, float] = {}
        seen: dict[_Words, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            slots_, part = _entry(content, f"line {number} of --gpu-slots-file {path}")
            if earlier := seen.get(_words(part)):
                raise Misconfigured(
                    f"line {number} of --gpu-slots-file {path} names {part!r} as line {earlier} "
                    "does: take one of them away"
                )
            seen[_words(part)] = number
            own[part] = slots_
        return cls(own)

    def __call__(self, name: str, memory: Bytes) -> int:
        """Return the slots of a card or of a part of one, at least 1.

        The longest part of the name that the operator's table has decides, else the longest that
        is known; whole words count, not their case. A MIG instance has its slices' share of the
        card's slots, unless a line names ``MIG``. What nobody knows has a slot for each started
        2 GiB of ``memory``.
        """
        words = _words(name)
        if _MIG in words:
            return self._instance(words, memory)
        return self._card(words) or _by_memory(memory)

    def _card(self, words: _Words) -> int:
        return _longest(self._own, words) or _longest(_KNOWN, words)

    def _instance(self, words: _Words, memory: Bytes) -> int:
        named = {part: number for part, number in self._own.items() if _MIG in part}
        if number := _longest(named, words):
            return number
        parent, profile = words[: words.index(_MIG)], " ".join(words)
        found, whole = _PROFILE.search(profile), self._card(parent)
        if not found or not whole:
            return _by_memory(memory)
        slices = _longest(_SLICED, parent) or _USUAL_SLICES
        return max(1, whole * int(found[1] or found[2]) // slices)


def slots(name: str, memory: Bytes) -> int:
    """Return the slots of a card where the operator has no table of his own; at least 1."""
    return _PLAIN(name, memory)


def _entry(content: str, where: str) -> tuple[int, str]:
    found = _LINE.fullmatch(content)
    if found is None or not _words(found[2]):
        raise Misconfigured(
            f"{where} is {content[:80]!r}: write the slots and then a part of the card's name, "
            "such as: 24 RTX 4090"
        )
    number = int(found[1][:10])
    if not 1 <= number <= _MOST:
        raise Misconfigured(
            f"{where} gives {found[1][:20]} slots to {found[2]!r}: write 1 to {_MOST}; a card "
            "that is not to be given out is left out of CUDA_VISIBLE_DEVICES"
        )
    return number, found[2]


def _words(text: str) -> _Words:
    return tuple(re.findall(r"[a-z0-9.+]+", text.lower()))


def _longest(table: Mapping[_Words, int], words: _Words) -> int:
    """Return the figure of the longest entry that stands in the name, word by word; 0: none."""
    there = set(_runs(words))
    found = [part for part in table if part in there]
    return (
        table[max(found, key=lambda part: (len(part), sum(map(len, part)), part))] if found else 0
    )


def _runs(words: _Words) -> Iterable[_Words]:
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield words[start:end]


def _by_memory(memory: Bytes) -> int:
    return max(1, -(-memory // MEMORY_PER_SLOT))


def _table(entries: Mapping[str, int]) -> Iterator[tuple[_Words, int]]:
    return ((_words(part), number) for part, number in entries.items())


_KNOWN = dict(_table(NEWER | KNOWN))
_SLICED = dict(_table(_SLICES))
_PLAIN = SlotTable()
