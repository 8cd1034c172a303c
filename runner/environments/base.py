"""The seam to environment builders: a set of requirements becomes an installed, shared directory.

Promises held by ``tests/contracts/environments.py`` for every backend:

* Equal specs give the same environment, built once however many ask at the same time.
* A lease on an environment keeps it on disk; without one it may be evicted, oldest use first.
* A build that fails or is killed leaves nothing that a later ``prepare`` could mistake for a build.
* An attachment never lets a run change the shared copy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runner.model import NOTHING, Bytes, Identity, Stock

if TYPE_CHECKING:
    from runner.environments.within import Within


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What an experiment wants installed."""

    #: Prefix of a version, ``"3.11"``; ``None`` means the operator's default.
    python_version: str | None
    #: Installer requirement lines after the rules of protocol section 7.5.
    requirements: tuple[str, ...]
    #: Identity of the queue credential: environments whose build ran code are shared within it.
    scope: str
    #: The container image that it is built in, and for; ``None``: this machine.
    within: Within | None = None
    #: Whose workspace it is for: code of packages runs as this user. ``None``: the operator's one.
    identity: Identity | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """An environment as one run sees it."""

    #: The interpreter that starts the script.
    python: Path
    #: Added to the experiment's variables (``VIRTUAL_ENV``).
    variables: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    #: Put before ``PATH``.
    path: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed set of requirements; valid while its lease is held."""

    #: Content address; the name of its directory.
    key: str
    root: Path
    #: Wall-clock seconds that preparing took; milliseconds for one that was already there.
    seconds: float
    reused: bool
    #: A shared ``flock`` on this file keeps it, too: for the supervisor of a run.
    lock: Path | None = field(default=None, kw_only=True)


class Environments(AbstractAsyncContextManager["Environments"], ABC):
    """Prepares, keeps and evicts environments below one directory."""

    @abstractmethod
    def lease(self, spec: EnvironmentSpec) -> AbstractAsyncContextManager[Environment]:
        """Prepare the environment and keep it until the block ends.

        Raises PythonMissing, RequirementsFailed (with the installer's last lines), OutOfDisk,
        RequestError for a requirement line that is no requirement.
        """

    @abstractmethod
    def pin(self, key: str) -> AbstractAsyncContextManager[None]:
        """Keep a built environment that an adopted run uses, without preparing anything."""

    @abstractmethod
    async def attach(self, environment: Environment, into: Path) -> Attachment:
        """Make the environment usable from the new directory ``into``."""

    def installed(self, key: str) -> tuple[str, ...]:
        """Return what an environment holds, a line each, for people; nothing where it is gone."""
        del key
        return ()

    async def give_way(self, wanted: Bytes) -> None:
        """Remove about ``wanted`` bytes of what nobody uses, what is least missed first."""

    async def stock(self) -> Stock | None:
        """Tell how full it is; ``None`` where that cannot be known now."""
        return None

    async def compile_later(self, environment: Environment) -> None:
        """Do what makes later starts faster, beside the first run; nothing where nothing helps."""
