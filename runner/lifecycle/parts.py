"""What an attempt works with: the seams and the numbers, put together once by ``app.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from runner.cache.base import Cache
from runner.environments.base import Environments
from runner.lifecycle.board import Board
from runner.lifecycle.claiming.intake import Intake
from runner.lifecycle.disposition import RetryPolicy
from runner.lifecycle.fuses.fuse import Fuse
from runner.lifecycle.gpus.cards import Cards
from runner.lifecycle.gpus.choice import Sharing
from runner.lifecycle.history import History
from runner.lifecycle.hooks.hooks import Hooks
from runner.lifecycle.ownership.claim import Observations
from runner.lifecycle.ownership.guard import Guards
from runner.lifecycle.ownership.keeper import Keeper
from runner.lifecycle.ownership.pulse import Pulse
from runner.lifecycle.responses.responses import Responses
from runner.lifecycle.runs.bounding import Bounding
from runner.lifecycle.runs.containers import Containers
from runner.lifecycle.runs.forkserver import ForkServer
from runner.lifecycle.runs.kept import Kept
from runner.lifecycle.runs.record import Records
from runner.lifecycle.runs.remains import Remains
from runner.lifecycle.runs.users import Users
from runner.lifecycle.tally import Tally
from runner.model import Artifact, Bytes, Location, Report, Request
from runner.privacy.opening import Opening
from runner.redaction import Redactor
from runner.sandboxes.base import Bind, Sandbox
from runner.stores.base import Store

StoreFor = Callable[[Artifact | Location, Request, tuple[str, str]], Awaitable[Store]]
"""What is wanted, the request, its queue's broker and project -> the store. Raises RequestError."""


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's numbers for attempts; every default is in ``docs/defaults.md``."""

    duration_cap: timedelta
    kill_grace: timedelta
    orphan_timeout: timedelta
    output_limit: Bytes
    #: Used when the request names no interval; ``None``: no checkpoints.
    checkpoint_interval: timedelta | None
    #: Budget for artifacts when the request states no disk need.
    default_disk: Bytes
    claim_lease: timedelta
    retry: RetryPolicy
    #: How long a finished result waits for a store that does not answer.
    upload_patience: timedelta
    #: The environment that experiments start from; never the daemon's own.
    base_variables: Mapping[str, str]
    #: ``False``: experiments reach no network.
    network: bool = True
    wrap_log_lines: bool = True
    keep_workspaces: bool = False
    #: Systemd's slice in which every run gets a scope of its own; empty: they get none.
    runs_slice: str = ""
    gpu_sharing: Sharing = Sharing.OFF
    bounding: Bounding = field(default_factory=Bounding)


@dataclass(frozen=True, slots=True)
class Parts:
    """One daemon's parts."""

    #: Unique to this daemon's state directory, stable over restarts.
    owner: str
    host: str
    working_dir: Path
    keeper: Keeper
    intake: Intake
    records: Records
    history: History
    board: Board
    observations: Observations
    environments: Environments
    sandbox: Sandbox
    store_for: StoreFor
    report: Callable[[Report], Awaitable[None]]
    redactor: Redactor
    options: Options
    #: Starts work that no attempt waits for; its errors are logged, the daemon's end cancels it.
    background: Callable[[Callable[[], Awaitable[None]]], None]
    #: Whom experiments run as.
    users: Users = field(default_factory=Users)
    #: What immutable artifacts hold, for all experiments; ``None``: each fetches its own.
    cache: Cache | None = None
    #: What experiments must not see into, where the sandbox can hide it: directories and files,
    #: absolute and without links; what is not there yet counts as soon as it is.
    hidden: tuple[Path, ...] = ()
    #: What of it they need all the same, besides their own workspace and environment.
    visible: tuple[Path, ...] = ()
    #: What the operator shows to all of them.
    binds: tuple[Bind, ...] = ()
    #: Whether the main loop and the keeper make progress.
    pulse: Pulse = field(default_factory=Pulse)
    #: What was done so far.
    tally: Tally = field(default_factory=Tally)
    #: What is known of the cards that are given out; of none where nobody looks at them.
    cards: Cards = field(default_factory=Cards)
    #: Whether failures in a row say that the machine is ill.
    fuse: Fuse = field(default_factory=Fuse)
    #: What makes requests out of messages that are sealed, and says which are believed.
    opening: Opening = field(default_factory=Opening)
    #: What there is to run experiments in container images.
    containers: Containers = field(default_factory=Containers)
    #: What starts supervisors fast; ``None``: each is started by itself.
    server: ForkServer | None = None
    #: Messages that are kept for other runners.
    guards: Guards = field(default_factory=Guards)
    #: Shares of runs that have ended, and of which a process is left.
    remains: Remains = field(default_factory=Remains)
    #: Where reports for the experiments' senders are posted.
    responses: Responses = field(default_factory=Responses)
    #: The operator's programs around each experiment.
    hooks: Hooks = field(default_factory=Hooks)
    #: Where the workspaces of failed experiments are kept for a while; ``None``: nowhere.
    kept: Kept | None = None
