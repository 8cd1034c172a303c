"""A value that never shows itself."""

from __future__ import annotations

from dataclasses import dataclass

#: What stands where a secret was.
MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that never shows itself; ``reveal`` is the one way to it, easy to search for."""

    _value: str = ""

    def reveal(self) -> str:
        """Return the value, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__
