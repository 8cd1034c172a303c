"""Options about how experiments run, how long, and what happens when they fail."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from runner.model import Bytes, Cause
from runner.settings import kinds
from runner.settings.kinds import Binding
from runner.settings.option import group, option
from runner.settings.users import RunAs


@group
class RunOptions:
    """The walls and the clocks around one run."""

    GROUP: ClassVar = "Runs"

    sandbox: str = option(
        kinds.choice("auto", "plain", "bwrap", "apptainer", metavar="NAME"),
        "auto",
        "the sandbox that experiments run in; auto: apptainer for those with a container image, "
        "for others bubblewrap where it starts, else plain",
    )
    network: str = option(
        kinds.choice("on", "off", metavar="on|off"),
        "on",
        "off: experiments reach no network, and of this machine none but themselves",
    )
    bind: tuple[Binding, ...] = option(
        kinds.BINDING,
        "",
        "directory of this machine that experiments see, at DEST if named, read-only unless rw",
        repeatable=True,
    )
    run_as: tuple[RunAs, ...] = option(
        kinds.USER,
        "",
        "user that experiments run as; of several, each runs one experiment at a time; a daemon of "
        "root needs it, or --allow-root-experiments",
        repeatable=True,
    )
    allow_root_experiments: bool = option(
        kinds.FLAG, "false", "run experiments as root where the daemon is root"
    )
    expose_env: tuple[str, ...] = option(
        kinds.VARIABLE,
        "",
        "variable of the daemon that experiments may see",
        repeatable=True,
    )
    output_limit: Bytes = option(
        kinds.SIZE, "128mib", "of a longer output the first and the last part are kept"
    )
    max_duration_cap: timedelta = option(
        kinds.PERIOD, "96h", "no run lasts longer, whatever its message says"
    )
    checkpoint_default: timedelta = option(
        kinds.DURATION,
        "10h",
        "time between checkpoints of experiments that ask for none; 0s means never",
    )
    kill_grace: timedelta = option(
        kinds.DURATION, "10s", "time between TERM and KILL for a run that is ended"
    )
    orphan_timeout: timedelta = option(
        kinds.DURATION, "10m", "a run that no daemon looks after ends after this time"
    )
    schema_logs: bool = option(
        kinds.FLAG, "true", "keep output lines that are no JSON in the scraped metadata as well"
    )
    debug: bool = option(kinds.FLAG, "false", "keep the directories of ended experiments")
    keep_failed: timedelta = option(
        kinds.DURATION,
        "0s",
        "how long the directory of a failed experiment is kept to be looked at, as long as the "
        "disk has room for it; 0s means not at all",
    )


@group
class RetryOptions:
    """Leases, attempts and delays."""

    GROUP: ClassVar = "Retries"

    lease: timedelta = option(
        kinds.PERIOD, "60s", "a claim in a local queue expires when it is not renewed for so long"
    )
    upload_patience: timedelta = option(
        kinds.DURATION, "1h", "how long results wait for a store that does not answer"
    )
    max_attempts: int = option(
        kinds.POSITIVE, "3", "attempts of one experiment before it is buried"
    )
    retry_on: tuple[Cause, ...] = option(
        kinds.CAUSE,
        "",
        "cause that is retried besides faults of the host, its cards and its stores: exit …",
        repeatable=True,
    )
    retry_delay: timedelta = option(kinds.DURATION, "30s", "delay before the second attempt")
    longest_retry_delay: timedelta = option(
        kinds.DURATION, "15m", "the delay doubles with each attempt up to this"
    )
