"""Whether the state directory is still the one that this daemon has locked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tenure:
    """The lock of a state directory: who removes it takes the records of runs with it.

    A directory that is put in its place is not ours, and another daemon may begin there at once.
    """

    #: The lock, in the state directory.
    file: Path
    #: On which it is held.
    descriptor: int

    def trouble(self) -> str:
        """Say what became of it, and what to do; empty while it is ours."""
        try:
            if os.path.samestat(self.file.stat(), os.fstat(self.descriptor)):
                return ""
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"the state directory {self.file.parent} cannot be used: {error.strerror}"
        return (
            f"the state directory {self.file.parent} was removed or replaced while the daemon "
            "runs: start the daemon anew"
        )
