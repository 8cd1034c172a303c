"""The operator's programs, from the options."""

from __future__ import annotations

from runner.lifecycle.hooks.hooks import Hooks
from runner.lifecycle.hooks.program import Program
from runner.settings import Settings


def programs(settings: Settings) -> list[Program]:
    """Return those that are named."""
    named = (("--hook-before", settings.hook_before), ("--hook-after", settings.hook_after))
    limit = settings.hook_time
    return [Program(option, command.argv, limit) for option, command in named if command]


def hooks(settings: Settings) -> Hooks:
    """Return what is asked before each experiment, and told after it."""
    found = {program.option: program for program in programs(settings)}
    return Hooks(found.get("--hook-before"), found.get("--hook-after"))
