"""What an experiment asks for besides its script: resources, time, retries, requirements."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.errors import Misconfigured
from runner.request.units import parse_duration, parse_size

_PYTHON = re.compile(r"\d+(\.\d+){0,2}")
_SIZE = "a size such as 16gib"
#: Bytes: who writes less has left the unit out.
_LEAST = 1_000_000
_DURATION = "a duration such as 20m, 1h30m or 48h"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Each field is the option of ``studio-runner submit`` of the same name, with its default.

    >>> Options(cores=2, memory="4gib", max_duration="1h").needs()["ram"]
    '4gib'
    >>> Options(memory="lots").needs()
    Traceback (most recent call last):
        ...
    runner.errors.Misconfigured: --memory is 'lots': give a size such as 16gib
    """

    cores: int | str = 1
    memory: str = "1gib"
    #: For artifacts and results.
    disk: str = "2gib"
    #: Cards, and memory on each.
    gpus: int | str = 0
    gpu_memory: str | None = None
    #: ``20m``, ``1h30m``, ``48h``: the end of the run, of the message, and between two checkpoints.
    max_duration: str | None = None
    lifetime: str | None = None
    checkpoint: str | None = None
    #: Causes after which it is tried again, such as ``exit``.
    retry_on: Sequence[str] = ()
    max_attempts: int | str | None = None
    #: Requirements files; empty: those of the project, else what is installed here.
    requirements: Sequence[str] = ()
    #: ``3.11``; ``None``: this one, or the image's.
    python: str | None = None
    container: str = ""
    #: The experiment's variables.
    env: Mapping[str, str] = field(default_factory=dict)
    project: str | None = None

    def needs(self) -> Mapping[str, Any]:
        """Return ``resources_needed``. Raises Misconfigured."""
        cards = self._count("gpus")
        needs: dict[str, Any] = {
            "cpus": self._count("cores"),
            "ram": self._checked("memory", parse_size, _SIZE),
            "hdd": self._checked("disk", parse_size, _SIZE),
            # Slots of each card; how many cards is gpuCount.
            "gpus": min(cards, 1),
            "gpuCount": cards,
        }
        memory = self._checked("gpu_memory", parse_size, _SIZE)
        if memory and not cards:
            raise Misconfigured(
                "--gpu-memory is given without --gpus: say how many cards, --gpus 1"
            )
        return needs | ({"gpuMem": memory} if memory else {})

    def durations(self) -> Mapping[str, Any]:
        """Return the durations as written, by their field's name. Raises Misconfigured."""
        names = ("max_duration", "lifetime", "checkpoint")
        return {name: self._checked(name, parse_duration, _DURATION) for name in names}

    def attempts(self) -> int | None:
        """Return the attempts in all. Raises Misconfigured."""
        return None if self.max_attempts is None else self._count("max_attempts")

    def python_version(self) -> str | None:
        """Return the Python version; ``None`` for that of an image. Raises Misconfigured."""
        if self.container and not self.python:
            return None
        version = str(self.python or ".".join(platform.python_version_tuple()[:2]))
        if not _PYTHON.fullmatch(version):
            raise Misconfigured(f"--python is {version!r}: give a version such as 3.11")
        return version

    def causes(self) -> tuple[str, ...]:
        """Return the causes after which it is tried again."""
        listed = [self.retry_on] if isinstance(self.retry_on, str) else self.retry_on
        return tuple(cause for text in listed for cause in text.split(",") if cause)

    def _count(self, name: str) -> int:
        text = str(getattr(self, name))
        if not (text.isascii() and text.isdigit()):
            raise Misconfigured(f"--{name.replace('_', '-')} is {text!r}: give a whole number")
        return int(text)

    def _checked(self, name: str, parse: Callable[[str], Any], accepted: str) -> str | None:
        text: str | None = getattr(self, name)
        if text is None:
            return None
        flag = name.replace("_", "-")
        try:
            found = parse(text)
        except (ValueError, OverflowError) as error:
            raise Misconfigured(f"--{flag} is {text!r}: give {accepted}") from error
        if parse is parse_size and 0 < found < _LEAST:
            raise Misconfigured(f"--{flag} is {text!r}, {found} bytes: give {accepted}")
        return text
