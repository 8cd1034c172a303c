"""Options about the daemon itself."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option
from runner.settings.places import Places


def _working_default(places: Places) -> str:
    return str(places.values["state_dir"] / "work")


@group
class ServiceOptions:
    """Directories, logs and the ends of the daemon."""

    GROUP: ClassVar = "The daemon"

    state_dir: Path = option(
        kinds.PATH,
        lambda places: str(places.state),
        "records of runs, dead letters, environments and the control socket; one daemon each",
        shown_default="/var/lib/studio-runner as root, else ~/.local/state/studio-runner",
    )
    working_dir: Path = option(
        kinds.PATH,
        _working_default,
        "directories of running experiments",
        shown_default="work in --state-dir",
    )
    log_level: str = option(
        kinds.LEVEL, "info", "what is logged: debug, info, warning, error, critical"
    )
    log_format: str = option(
        kinds.choice("auto", "text", "json"),
        "auto",
        "auto means text on a terminal and JSON elsewhere",
    )
    dry_run: bool = option(
        kinds.FLAG, "false", "say what would be taken and what would be left, and why; take nothing"
    )
    grace_period: timedelta = option(
        kinds.DURATION, "10m", "time that runs get to finish after the first TERM or INT"
    )
    limit_tasks: int = option(
        kinds.COUNT, "0", "end after this many attempts; 0 means no such limit"
    )
    limit_idle_duration: timedelta = option(
        kinds.DURATION,
        "0s",
        "end after having had nothing to run for so long; 0s means no such limit",
        aliases=("exit-when-idle",),
    )
    limit_interval: timedelta = option(
        kinds.DURATION, "5m", "the limits are looked at all the time", idle=True
    )

    cpu_profile: Path | None = option(
        kinds.OPTIONAL_PATH, "", "file for a profile of the daemon", idle=True
    )
    cpu_profile_duration: timedelta = option(
        kinds.DURATION, "60s", "how long the profile is taken", idle=True
    )
