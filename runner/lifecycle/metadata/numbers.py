"""The numbers in an experiment's metadata, by path: what people call its metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

#: As many as anybody reads, from an object that may hold millions.
_MOST, _DEEPEST, _LOOKED_AT = 50, 5, 5000
#: The runner's own lines.
_NOT_METRICS = frozenset({"log"})


def numbers(document: Mapping[str, object], *, most: int = _MOST) -> dict[str, float]:
    """Return them in the document's order, as ``validation/accuracy``; lists hold none."""
    found: dict[str, float] = {}
    for count, (path, value) in enumerate(_leaves(document, (), _DEEPEST)):
        if count == _LOOKED_AT or len(found) == most:
            break
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
            found["/".join(path)] = float(value)
    return found


def _leaves(
    value: Mapping[str, object], path: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, member in value.items():
        if not path and name == "studioml" and isinstance(member, dict):
            ours = {key: one for key, one in member.items() if key not in _NOT_METRICS}
            yield from _leaves(ours, (name,), depth - 1)
        elif isinstance(member, dict):
            if depth > 1:
                yield from _leaves(cast("dict[str, object]", member), (*path, name), depth - 1)
        else:
            yield (*path, name), member


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is larger than any float
        return False
