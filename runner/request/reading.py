"""A message whose body was parsed: once, for all who ask for something of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.model import Message
from runner.request.document import parse
from runner.request.envelope import is_envelope


@dataclass(frozen=True, slots=True)
class Reading:
    """What a message says, before anybody has judged it."""

    message: Message
    #: Holds secrets, and takes its time to print.
    document: Mapping[str, object] = field(repr=False)
    #: Why it is no JSON object; empty where it is one.
    trouble: str = ""

    @classmethod
    def of(cls, message: Message) -> Reading:
        """Parse the body."""
        try:
            return cls(message, parse(message.body))
        except ValueError as error:
            return cls(message, {}, str(error))

    @property
    def is_sealed(self) -> bool:
        """Tell whether the request is in an envelope."""
        return is_envelope(self.document)
