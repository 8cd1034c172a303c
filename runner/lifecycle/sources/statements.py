"""What people are told about queues: which are taken, which are not, and what would change that."""

from __future__ import annotations

from collections.abc import Collection

#: Names in one sentence; an account may have thousands.
_MOST = 10


def listed(names: Collection[str], most: int = _MOST) -> str:
    """Return the first names, and how many there are besides."""
    shown = sorted(names)
    text = ", ".join(shown[:most])
    more = len(shown) - most
    return f"{text} and {more} more" if more > 0 else text or "none"


def queue_set(
    broker: str,
    origin: str,
    names: Collection[str],
    before: Collection[str] = (),
    left: Collection[str] = (),
) -> str:
    """Say which queues are taken from now, and for long lists what has changed.

    The first time also which are ``left``.
    """
    text = f"{broker} queues of {origin}: {listed(names)}"
    if not before and left:
        return f"{text}; left: {listed(left)} (--queue takes one by its name)"
    if len(names) <= _MOST or not before:
        return text
    new, gone = set(names) - set(before), set(before) - set(names)
    parts = [f"{len(names)} {broker} queues of {origin}"]
    parts += [f"new: {listed(new)}"] if new else []
    parts += [f"gone: {listed(gone)}"] if gone else []
    return "; ".join(parts)


def left_behind(broker: str, origin: str, left: Collection[str]) -> str:
    """Say that a credential shows queues of which none is taken; empty where it shows none."""
    if not left:
        return ""
    some = min(left)
    beside = "" if broker == "local" else ", or write its name into a file 'queues' beside it"
    return (
        f"{origin} shows {len(left)} {broker} queues and none of them is taken: {listed(left)}; to "
        f"take one, name it: --queue {broker}://{some}, --queue-match '{some}$'{beside}"
    )
