"""Keys for tests, made once: an RSA key of 4096 bits takes a second."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from runner.privacy import making


@functools.cache
def keys(queue: str = "local_test") -> Mapping[Path, bytes]:
    """Return the files of a set of keys for a queue."""
    return making.generate(queue)


def laid_out(place: Path, queue: str = "local_test") -> Path:
    """Write a set of keys below ``place`` and return it."""
    for name, content in keys(queue).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place
