"""How many compute slots a card has (protocol section 6.5)."""

from __future__ import annotations

from runner.model import Bytes

#: What the reference runner gives to the cards that it knows, by a part of their names.
KNOWN = {
    "GTX 1050": 2,
    "GTX 1060": 2,
    "GTX 1070": 2,
    "GTX 1080": 2,
    "TITAN X": 2,
    "RTX 2080 Ti": 2,
    "Tesla K80": 2,
    "NVIDIA K80": 2,
    "Tesla P40": 4,
    "NVIDIA P40": 4,
    "Tesla P100": 8,
    "NVIDIA P100": 8,
    "Tesla V100": 16,
    "NVIDIA V100": 16,
    "A100-SXM4-40GB": 24,
}
#: Any other card has a slot for each started piece of this size: an H100 40, an L4 12, a T4 8.
MEMORY_PER_SLOT = 2 << 30


def slots(name: str, memory: Bytes) -> int:
    """Return the slots of a card; at least 1."""
    known = [number for part, number in KNOWN.items() if part in name]
    return known[0] if known else max(1, -(-memory // MEMORY_PER_SLOT))
