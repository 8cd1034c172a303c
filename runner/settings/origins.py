"""Where a value came from."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Source(enum.IntEnum):
    """The places a value can come from; the greater wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    FLAG = 3


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from."""

    source: Source
    #: The flag, the variable, or ``FILE, key KEY``.
    name: str = ""

    def __str__(self) -> str:
        """Say it as a person would."""
        match self.source:
            case Source.DEFAULT:
                return "default"
            case Source.FILE:
                return f"file {self.name}"
            case Source.ENVIRONMENT:
                return f"environment variable {self.name}"
            case Source.FLAG:
                return f"flag {self.name}"
