"""Says what is wrong once, when it has stood for a while, and again only when it changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.queues.credentials.contents import Trouble


@dataclass(slots=True)
class _Known:
    since: float
    is_said: bool = False


class Speaking:
    """Remembers what was said. Pure: the caller does the saying."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds that a trouble stands before it is said."""
        self._patience = patience
        self._known: dict[Trouble, _Known] = {}

    @property
    def standing(self) -> tuple[Trouble, ...]:
        """What was said and is not over."""
        return tuple(trouble for trouble, known in self._known.items() if known.is_said)

    def waits(self, troubles: Iterable[Trouble]) -> bool:
        """Tell whether ``due`` is to be asked: something is new, over, or not yet said."""
        said = {trouble for trouble, known in self._known.items() if known.is_said}
        return len(said) < len(self._known) or said != set(troubles)

    def due(self, troubles: Iterable[Trouble], now: float) -> list[Trouble]:
        """Return what is to be said now; troubles that are over are forgotten."""
        current = {trouble: self._known.get(trouble, _Known(now)) for trouble in troubles}
        self._known = current
        found = [
            trouble
            for trouble, known in current.items()
            if not known.is_said and now - known.since >= self._patience
        ]
        for trouble in found:
            current[trouble].is_said = True
        return found
