"""What is to be built, and the address that says so. Everything that matters is in the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.environments import manifest
from runner.environments.interpreters import Interpreter
from runner.environments.layering import Base
from runner.environments.requirements import Line, Requirements, parse
from runner.environments.within import Within


@dataclass(frozen=True, slots=True)
class Resolution:
    """The exact list that stands for what an experiment wants."""

    #: Installer lines, to be installed without looking at dependencies.
    lines: tuple[str, ...]
    #: Installing it runs code that some package brings.
    runs_code: bool = False
    #: The variant of PyTorch whose index is needed; empty for none.
    torch: str = ""
    #: The same list would come out at any time: all that it holds was pinned by the sender.
    is_final: bool = False
    #: What the sender should know.
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One environment to be."""

    interpreter: Interpreter
    base: Base | None
    resolution: Resolution
    #: A wheel of pip to install with it; empty where the list has its own.
    pip: str
    #: Who shares it: the queue credential's identity; ``None`` for everybody.
    scope: str | None
    key: str
    #: The container image that it is built in.
    within: Within | None = None


def address(
    interpreter: Interpreter,
    resolution: Resolution,
    *,
    sources: list[object],
    installer: str,
    base: Base | None,
    pip: str,
    scope: str | None,
) -> str:
    """Return the key: equal for equal environments, another one where anything differs."""
    facts = {
        "interpreter": interpreter.fingerprint(),
        "installer": installer,
        "sources": sources,
        "torch": resolution.torch,
        "base": list(base.packages) + list(base.folders) if base else [],
        "pip": Path(pip).name,
        "scope": scope,
        "list": [_content(line) for line in parse(resolution.lines).lines],
    }
    return digest(facts)


def digest(facts: Mapping[str, object]) -> str:
    """Return a name for plain data."""
    text = json.dumps(facts, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def contents(wanted: Requirements) -> list[str]:
    """Return what each requirement means now: files of this machine by their contents."""
    return [_content(line) for line in wanted.lines]


def _content(line: Line) -> str:
    if not line.path:
        return line.text
    path = Path(line.path)
    if path.is_file():
        with path.open("rb") as file:
            return f"{line.name or path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    if path.is_dir() and not line.text.startswith("-e"):
        return f"{line.text} {manifest.survey(path).digest}"
    return line.text
