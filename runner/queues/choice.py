"""Which of the queues that a credential shows are ours to take from (design section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Where reports are sent to; nobody takes experiments from them (protocol section 2.10). Clients
#: call the subscription of a Pub/Sub topic by the topic's name and ``_sub``.
RESPONSES = ("_response", "_response_sub", "_response.fifo")


@dataclass(frozen=True, slots=True)
class Choice:
    """The operator's rule, by short name; what is ``named`` is taken whatever the patterns say."""

    #: Searched for; ``None`` takes all.
    match: re.Pattern[str] | None = None
    mismatch: re.Pattern[str] | None = None
    named: frozenset[str] = frozenset()
    #: A broker that can list by the beginning of names is asked for these alone (``--sqs-prefix``).
    prefix: str = ""

    def takes(self, queue: str) -> bool:
        """Tell whether a queue of this name is ours."""
        if queue in self.named:
            return True
        if queue.endswith(RESPONSES) or not queue.startswith(self.prefix):
            return False
        if self.match is not None and not self.match.search(queue):
            return False
        return self.mismatch is None or not self.mismatch.search(queue)

    def divide(self, queues: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Return what is taken, and what is left."""
        seen = frozenset(queues)
        taken = frozenset(filter(self.takes, seen))
        return taken, seen - taken

    def reason(self, queue: str) -> str:
        """Say why a queue of this name is left, with the option that would take it."""
        if queue.endswith(RESPONSES):
            return "it is for responses"
        if not queue.startswith(self.prefix):
            return f"it does not begin with --sqs-prefix {self.prefix}, and no --queue names it"
        if self.mismatch is not None and self.mismatch.search(queue):
            return f"--queue-mismatch {self.mismatch.pattern} is found in it"
        pattern = self.match.pattern if self.match else ""
        return f"--queue-match {pattern} is not found in it, and no --queue names it"
