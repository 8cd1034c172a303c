"""How long work on an archive learns that it is to end."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], object]


def check_of(stream: object, given: Check | None) -> Check:
    """Return ``given``, else the ``check`` of a store's stream, else one that never ends anything.

    Reading and writing such a stream checks by itself; a few bytes can unpack to gigabytes, and
    gigabytes can pack to a few bytes, without touching it.
    """
    return given or getattr(stream, "check", None) or _never


def _never() -> None:
    pass
