"""What the lifecycle goes by, from the settings: its options, and when the daemon ends."""

from __future__ import annotations

import os

from runner.app.places import Places
from runner.lifecycle.disposition import RetryPolicy
from runner.lifecycle.gpus.choice import Sharing
from runner.lifecycle.loop import Ends
from runner.lifecycle.parts import Options
from runner.lifecycle.runs.bounding import Bounding
from runner.lifecycle.runs.variables import base_variables
from runner.model import Bytes
from runner.settings import Settings

_DEFAULT_DISK = Bytes(100 << 30)


def options(
    settings: Settings, places_: Places, *, bounding: Bounding, runs_slice: str = ""
) -> Options:
    """Return what attempts go by."""
    return Options(
        duration_cap=settings.max_duration_cap,
        kill_grace=settings.kill_grace,
        orphan_timeout=settings.orphan_timeout,
        output_limit=settings.output_limit,
        checkpoint_interval=settings.checkpoint_default or None,
        default_disk=default_disk(settings),
        claim_lease=settings.lease,
        retry=RetryPolicy(
            max_attempts=settings.max_attempts,
            retry_on=frozenset(settings.retry_on),
            base_delay=settings.retry_delay,
            longest_delay=settings.longest_retry_delay,
        ),
        upload_patience=settings.upload_patience,
        base_variables=base_variables(
            user=places_.user, exposed=settings.expose_env, own=os.environ
        ),
        network=settings.network == "on",
        wrap_log_lines=settings.schema_logs,
        keep_workspaces=settings.debug,
        runs_slice=runs_slice,
        bounding=bounding,
        gpu_sharing=Sharing(settings.gpu_sharing),
    )


def default_disk(settings: Settings) -> Bytes:
    """Return what an experiment may hold that asks for no disk."""
    return settings.max_disk or _DEFAULT_DISK


def ends(settings: Settings) -> Ends:
    """Return when the daemon ends by itself, and how long a drain may take."""
    return Ends(
        tasks=settings.limit_tasks,
        idle=settings.limit_idle_duration,
        grace=settings.grace_period,
    )
