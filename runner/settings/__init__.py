"""Flags, environment and file become one frozen ``Settings``; nothing else parses options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runner.settings.bounds import BoundOptions
from runner.settings.caching import CacheOptions
from runner.settings.claiming import ClaimOptions
from runner.settings.containers import ContainerOptions
from runner.settings.fleet import FleetOptions
from runner.settings.gpus import GpuOptions
from runner.settings.hooks import HookOptions
from runner.settings.installing import EnvironmentOptions
from runner.settings.listening import ListenOptions
from runner.settings.machine import MachineOptions
from runner.settings.news import NewsOptions
from runner.settings.notices import NoticeOptions
from runner.settings.option import Option, declared
from runner.settings.origins import Origin, Source
from runner.settings.running import RetryOptions, RunOptions
from runner.settings.service import ServiceOptions
from runner.settings.sources import MessageOptions, SourceOptions
from runner.settings.state import StateOptions
from runner.settings.storage import StorageOptions

_ABOUT = {
    "run": "Take experiments from queues and run them, until a TERM or INT says to drain.",
    "config": "Print every option's value and where it came from.",
}

__all__ = ["OPTIONS", "Option", "Origin", "Settings", "Source"]


@dataclass(frozen=True, kw_only=True)
class Settings(
    NewsOptions,
    ListenOptions,
    FleetOptions,
    StateOptions,
    CacheOptions,
    ServiceOptions,
    RetryOptions,
    BoundOptions,
    HookOptions,
    RunOptions,
    NoticeOptions,
    ClaimOptions,
    EnvironmentOptions,
    ContainerOptions,
    StorageOptions,
    MessageOptions,
    SourceOptions,
    GpuOptions,
    MachineOptions,
):
    """Every option's value, and where it came from."""

    GROUP: ClassVar = ""

    #: By field.
    origins: Mapping[str, Origin] = dataclasses.field(repr=False)
    #: Sentences for the log: secrets on the command line, options without effect.
    notes: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    #: Files that secrets were read from: those of ``--NAME-file``, and one that names a secret.
    secret_files: tuple[Path, ...] = dataclasses.field(default=(), repr=False)

    @staticmethod
    def load(argv: Sequence[str], environ: Mapping[str, str], *, command: str = "run") -> Settings:
        """Read all options of a daemon's command line, its environment and its file.

        Raises Misconfigured. Prints the help and raises SystemExit where ``argv`` asks for it.
        """
        from runner.settings.parser import build_parser  # noqa: PLC0415 - slow to import
        from runner.settings.reading import read  # noqa: PLC0415 - likewise

        parser = build_parser(command, _ABOUT.get(command, ""), OPTIONS.values())
        settings, _ = read(parser, argv, environ)
        return settings

    def given(self, field: str) -> bool:
        """Tell whether somebody gave the option a value."""
        return self.origins[field].source is not Source.DEFAULT


OPTIONS: Mapping[str, Option] = declared(Settings)
