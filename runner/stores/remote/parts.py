"""How large the parts of a transfer are. Pure."""

from __future__ import annotations

#: What is at most this long is uploaded in one piece.
PART = 8 << 20
#: What one request of a download asks for. With half of it SeaweedFS takes a quarter more of the
#: processor for the same object; twice as much brings nothing but needs twice the memory.
RANGE = 16 << 20
#: Uploads double their parts this often, so that 10,000 of them hold more than 5 TiB.
_DOUBLING = 1000


def part_size(number: int) -> int:
    """Return the size of part ``number`` (from 1) of an upload."""
    return PART << ((number - 1) // _DOUBLING)


def boundaries(size: int, count: int, first: int) -> list[int] | None:
    """Return the sizes of the ``count`` parts of an object whose first part has ``first`` bytes.

    ``None``: they are neither alike nor grow as ours do.
    """
    if -(-size // first) == count:
        return [min(first, size - start) for start in range(0, size, first)]
    return _growing(size, count) if first == PART else None


def _growing(size: int, count: int) -> list[int] | None:
    sizes: list[int] = []
    left = size
    while left > 0 and len(sizes) < count:
        sizes.append(min(part_size(len(sizes) + 1), left))
        left -= sizes[-1]
    return sizes if left == 0 and len(sizes) == count else None
