"""An environment that is built with the Python of a container image, and of use in there alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.environments.installer import Finished, Place
from runner.environments.interpreters import Interpreter
from runner.environments.layering import Base

Enter = Callable[[Sequence[str], Place, Mapping[str, str], Sequence[Path]], Awaitable[Finished]]
"""Runs a command inside: words, where it works, its environment, what it reads of this machine."""


@dataclass(frozen=True, slots=True)
class Within:
    """One image, as far as environments go."""

    #: Another one for another content of the image.
    key: str
    #: As the image has it, at its path in there.
    interpreter: Interpreter
    #: The packages of the image: environments lie over them.
    base: Base
    enter: Enter

    def scope(self, scope: str) -> str:
        """Return who shares what is made in there.

        Even an installer is made of the image's libraries: nothing it made is for other images.
        """
        return f"{scope} in {self.key}"
