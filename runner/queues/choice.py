"""Which of the queues that a credential shows are ours to take from (design section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Where reports are sent to; nobody takes experiments from them (protocol section 2.10).
RESPONSE = "_response"


@dataclass(frozen=True, slots=True)
class Choice:
    """The operator's rule, by short name; what is ``named`` is taken whatever the patterns say."""

    #: Searched for; ``None`` takes all.
    match: re.Pattern[str] | None = None
    mismatch: re.Pattern[str] | None = None
    named: frozenset[str] = frozenset()

    def takes(self, queue: str) -> bool:
        """Tell whether a queue of this name is ours."""
        if queue in self.named:
            return True
        if queue.endswith(RESPONSE):
            return False
        if self.match is not None and not self.match.search(queue):
            return False
        return self.mismatch is None or not self.mismatch.search(queue)

    def divide(self, queues: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Return what is taken, and what is left."""
        seen = frozenset(queues)
        taken = frozenset(filter(self.takes, seen))
        return taken, seen - taken
