"""What the answers of a broker prove about one queue's being deleted: nearly always nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Suspicion:
    """Pure; the signs may come from any thread.

    Deleted means: known to be there, then only definite noes for long enough. Trouble of any kind
    in between leaves a doubt that nothing but the queue's being seen again removes: a broker that
    was restarted may have forgotten a queue that nobody deleted.
    """

    #: The broker had trouble since the queue was last known to be there.
    is_doubtful: bool = False
    #: A call was answered as if there were no such queue or message.
    is_hinted: bool = False
    _since: float | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether the broker is to be asked."""
        return self.is_doubtful or self.is_hinted or self._since is not None

    def there(self) -> None:
        """Note that the queue was seen."""
        self.is_doubtful, self.is_hinted, self._since = False, False, None

    def hint(self) -> None:
        """Note an answer that is worth a question."""
        self.is_hinted = True

    def trouble(self) -> None:
        """Note an outage, a refusal, a throttling: whatever is no answer."""
        self.is_doubtful, self._since = True, None

    def absent(self, now: float, apart: float) -> bool:
        """Note a definite no; tell whether the queue is deleted. ``now`` and ``apart``: seconds."""
        if self.is_doubtful:
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= apart
