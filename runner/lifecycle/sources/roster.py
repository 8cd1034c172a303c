"""Who pulls a queue that several credentials show: one of them, and the next when that one goes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Roster(Generic[Key]):
    """For each address those who show it, first come first; the first one pulls."""

    _shown: dict[str, list[Key]] = field(default_factory=dict)

    @property
    def pulled(self) -> Mapping[str, Key]:
        """Who pulls, by address."""
        return {address: keys[0] for address, keys in self._shown.items()}

    def show(self, address: str, key: Key) -> None:
        """Have one more who shows the queue; whoever pulls it goes on."""
        keys = self._shown.setdefault(address, [])
        if key not in keys:
            keys.append(key)

    def withdraw(self, address: str, key: Key) -> None:
        """Have one less; the next in line pulls where this one did."""
        keys = self._shown.get(address, [])
        if key in keys:
            keys.remove(key)
        if not keys:
            self._shown.pop(address, None)
