"""An attempt under way as status tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.lifecycle.board import Entry


def row(entry: Entry, used: Mapping[str, Any]) -> dict[str, Any]:
    """Return its facts; ``used``: what it takes of its share."""
    record = entry.record
    return {
        "key": record.key,
        "queue": record.message.queue,
        "account": f"{record.broker}:{record.project}",
        "project": record.experiment_project,
        "attempt": record.attempt,
        "stage": entry.stage.name.lower(),
        "phase": entry.phase,
        "since": record.claimed_at,
        "started": record.started_at,
        "limit": entry.limit,
        "cores": record.allocation.cores,
        "memory": record.allocation.memory,
        "disk": record.allocation.disk,
        "gpus": list(record.allocation.gpus),
        "used": used,
        "idle_since": entry.idle_since,
        "image": record.image,
        "run": record.run,
        "output": str(entry.output) if entry.output else None,
    }
