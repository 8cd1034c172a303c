"""Options about telling a fleet of runners apart: where each says how it stands."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from runner.settings import kinds
from runner.settings.option import group, option


@group
class FleetOptions:
    """What `studio-runner fleet` reads."""

    GROUP: ClassVar = "Fleet"

    fleet_store: str = option(
        kinds.ADDRESS,
        "",
        "where this runner tells how it stands, one small object for each runner, and where "
        "`studio-runner fleet` reads it: file:///DIRECTORY, s3://HOST/BUCKET/PREFIX, "
        "s3:///BUCKET/PREFIX or gs://BUCKET/PREFIX, opened with the runner's own AWS keys or "
        "Google identity; empty tells nobody",
    )
    fleet_interval: timedelta = option(
        kinds.PERIOD,
        "60s",
        "time between two of them, a tenth more or less; who is silent for three counts as late",
    )
