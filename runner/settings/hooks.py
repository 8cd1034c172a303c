"""Options about the operator's own programs around each experiment."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from runner.settings import kinds
from runner.settings.kinds import Kind
from runner.settings.option import group, option


@dataclass(frozen=True, slots=True)
class Command:
    """A command line that no shell reads."""

    argv: tuple[str, ...]
    #: As it was written.
    text: str

    def __str__(self) -> str:
        return self.text


def _read(text: str, environ: Mapping[str, str]) -> Command | None:
    """Part the words as a shell would, and expand nothing but ``~/`` of the program."""
    if not text.strip():
        return None
    first, *rest = shlex.split(text)
    if "\0" in text or not first:
        raise ValueError("no command")
    if first.startswith("~/"):
        first = environ.get("HOME", os.path.expanduser("~")) + first[1:]  # noqa: PTH111 - pwd
    return Command((first, *rest), text.strip())


COMMAND = Kind(_read, "a command such as /etc/studio-runner/allow --strict", "COMMAND", empty=True)


@group
class HookOptions:
    """Programs of the operator, run without a shell."""

    GROUP: ClassVar = "Hooks"

    hook_before: Command | None = option(
        COMMAND,
        "",
        "program that is asked before anything of an experiment is fetched; exit status 0: go on, "
        "100: later, any other: refused (docs/hooks.md)",
    )
    hook_after: Command | None = option(
        COMMAND, "", "program that is told how an experiment ended, when that is settled"
    )
    hook_time: timedelta = option(
        kinds.PERIOD, "60s", "a hook that takes longer is ended, and counts as one that cannot run"
    )
