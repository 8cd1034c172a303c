"""What ``Client`` gives for what it has queued: an experiment, or those of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.client.listings import Listed
from runner.client.results import Result

if TYPE_CHECKING:
    from runner.client.api import Client


@dataclass(frozen=True)
class Submitted:
    """An experiment that was queued."""

    key: str
    client: Client = field(repr=False, compare=False)
    listed: Sequence[Listed] = field(repr=False, compare=False)

    def result(self) -> Result:
        """Return how it stands now."""
        return self.client.looked_at(self.listed)[0]

    def wait(self, timeout: float | None = None) -> Result:
        """Wait for its end. Raises TimeoutError after so many seconds."""
        return next(self.client.ends(self.listed, timeout))


@dataclass(frozen=True)
class Sweep:
    """Experiments of one name; going through it tells how each stands now, in the grid's order."""

    name: str
    keys: Sequence[str]
    client: Client = field(repr=False, compare=False)
    listed: Sequence[Listed] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.client.looked_at(self.listed))

    def ended(self, timeout: float | None = None) -> Iterator[Result]:
        """Yield each as it ends, until all have. Raises TimeoutError after so many seconds."""
        return self.client.ends(self.listed, timeout)

    def wait(self, timeout: float | None = None) -> Sequence[Result]:
        """Return all, in the grid's order, when the last has ended. Raises TimeoutError."""
        found = {one.key: one for one in self.ended(timeout)}
        return [found[key] for key in self.keys]
