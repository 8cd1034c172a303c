"""The seam to container images: a reference becomes a file or a directory of this machine.

Promises held by ``tests/images``:

* An image is got once, however many ask for it at the same time, in this process and in others.
* A lease, or a lock held by a run's supervisor, keeps it on disk; else it may go, oldest use first.
* Getting it never happens as the daemon: what is run for it is another user's, where there is one.
* What was got half leaves nothing that could be taken for an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from runner.images.reference import Reference
from runner.model import NOTHING, Bytes, Identity


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this machine; valid while its lease is held."""

    #: As people read it.
    name: str
    #: A SIF file, or a directory with a whole system in it.
    path: Path
    #: Another one for another content: names what was found out, and what was built, for it.
    key: str
    #: A shared ``flock`` on this file keeps it, too: for the supervisor of a run.
    lock: Path | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended that was run for an image."""

    #: ``None``: it was ended, for it took too long or a signal came.
    code: int | None
    #: The end of what it printed; of a program that did not start, why.
    text: str
    #: ``False``: the sandbox that it was to run in cannot be had.
    started: bool = True


@dataclass(frozen=True, slots=True)
class Errand:
    """A program that is run as the user of experiments, in a run of its own."""

    argv: tuple[str, ...]
    #: Unique for all times; its processes are found by it.
    name: str
    patience: timedelta
    #: Where it works and may write, of that user; ``None``: anywhere.
    scratch: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    #: Further directories it may write to, and what it reads.
    writable: tuple[Path, ...] = ()
    readonly: tuple[Path, ...] = ()
    #: ``None``: the operator's one user of experiments.
    identity: Identity | None = None
    #: Where it runs; ``None``: on this machine, which it sees but for what is hidden.
    image: Path | None = None


class Errands(Protocol):
    """Runs programs for images."""

    async def run(self, errand: Errand) -> Ended:
        """Run it to its end; all its processes are gone then. Raises HostFault, Misconfigured."""


class Images(AbstractAsyncContextManager["Images"], ABC):
    """Gets, keeps and evicts images below one directory."""

    @abstractmethod
    def lease(
        self, reference: Reference, recipe: Path | None = None
    ) -> AbstractAsyncContextManager[Image]:
        """Have the image of a registry, or one built as ``recipe`` says, until the block ends.

        Raises ArtifactMissing for one that does not exist, ArtifactBad for a definition file that
        cannot be built, Unavailable where a registry does not answer, OutOfDisk, HostFault.
        """

    @abstractmethod
    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses, oldest use first."""


def words(texts: Sequence[str | Path]) -> tuple[str, ...]:
    """Return the words of a command."""
    return tuple(str(text) for text in texts)
