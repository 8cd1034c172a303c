"""What a reload would bring, as the daemon's own check of it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prospect:
    """The outcome of a check, before anything is given up."""

    #: Why the daemon goes on as it is; empty: it can be reloaded.
    reason: str = ""
    #: The options that have another value then: ``option``, ``before``, ``after``, ``origin`` and a
    #: ``sentence``, all redacted.
    changes: tuple[Mapping[str, str], ...] = ()


class Reloads(Protocol):
    """Who can reload the daemon."""

    #: Why that was refused last: the options of before count; empty where nothing was refused.
    refusal: str

    async def look(self) -> Prospect:
        """Say what a reload would bring; nothing is done."""

    async def reload(self) -> Prospect:
        """Begin it, or say why not."""
