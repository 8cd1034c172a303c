"""The seam to response queues: what the story of an experiment posts, and never waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.lifecycle.responses.documents import Document


@dataclass(frozen=True, slots=True)
class Subject:
    """Which attempt reports are about, and where they go."""

    broker: str
    project: str
    queue: str
    #: The experiment's; empty while nobody could read it.
    key: str = ""
    #: The attempt's, as its metadata files have it.
    unique: str = ""
    #: Its request was sealed: nothing about it goes out in clear text.
    is_sealed: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """One report to be made."""

    #: ``entry`` or ``progress`` of ``documents``.
    payload: Document
    #: Nanoseconds since the epoch.
    at: int
    #: Dropped last: people wait for it.
    matters: bool = True
    #: Names of the experiment are in it.
    names_it: bool = True
    #: It was read from a masked output.
    is_masked: bool = False


class Responses:
    """Posts nothing: what there is where no option asks for reports."""

    #: Whether reports may ever be posted.
    is_on = False

    def wants(self, subject: Subject) -> bool:  # noqa: ARG002 - nobody does
        """Tell whether there may be anybody to read the lines that an experiment prints."""
        return False

    def post(self, subject: Subject, posts: Sequence[Post]) -> None:
        """Have reports sent, in this order. Returns at once and raises nothing."""
