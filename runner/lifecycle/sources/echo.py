"""One trouble that many queues of an account meet in the same moment is said once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: As long as the longest pause after trouble: an outage is heard of once in this time.
_SECONDS = 60.0


@dataclass(eq=False)
class Echo:
    """What the queues of one account have said lately, each thing by whoever was first."""

    clock: Callable[[], float] = time.monotonic
    _said: dict[str, float] = field(default_factory=dict)

    def repeats(self, text: str) -> bool:
        """Tell whether this was said a moment ago; else remember that it is said now."""
        now = self.clock()
        self._said = {said: at for said, at in self._said.items() if now - at < _SECONDS}
        if text in self._said:
            return True
        self._said[text] = now
        return False
