"""What plans and builds environments, put together when the first one is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from runner import blocking
from runner.environments.build import Builder
from runner.environments.cache import EnvironmentCache
from runner.environments.installer import Installer
from runner.environments.interpreters import Interpreters
from runner.environments.places import Places
from runner.environments.planner import Planner
from runner.environments.resolve import Resolver
from runner.model import Identity


@dataclass(frozen=True, slots=True)
class Workshop:
    """The two who work in it."""

    planner: Planner
    builder: Builder

    @classmethod
    def opened(
        cls,
        root: Path,
        cache: EnvironmentCache,
        places: Places,
        installer: Installer,
        *,
        runner: Identity | None,
        resolve_ttl: timedelta,
        default_python: str | None,
        base_environment: Path | None,
        threads: blocking.Limit,
        report: Callable[[str], None],
    ) -> Self:
        """Open the memory of resolutions below ``root``; blocks. Raises OSError."""
        resolver = Resolver(root / "resolutions", resolve_ttl, places, installer, report)
        resolver.open()
        planner = Planner(
            Interpreters(root / "interpreters.json", runner, root / "pythons"),
            resolver,
            installer,
            places,
            default_python=default_python,
            base_environment=base_environment,
            threads=threads,
            report=report,
        )
        return cls(planner, Builder(cache, places, installer, threads))
