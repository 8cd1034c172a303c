"""What the client commands know of the daemon on this machine: its socket and its state on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.control.client import NoDaemon, ask
from runner.settings import Settings

Item = dict[str, Any]
#: What ended lately, in the state directory.
HISTORY = "recent.jsonl"
_SOCKET = "control.sock"
_RECORDS = "runs/*/record.json"


def control_socket(settings: Settings) -> Path:
    """Return where the daemon of these settings listens."""
    return settings.state_dir / _SOCKET


async def ask_once(settings: Settings, verb: str, **arguments: Any) -> Item:
    """Return the one item of a verb's answer. Raises NoDaemon, Refusal."""
    items = [item async for item in ask(control_socket(settings), verb, **arguments)]
    if not items:
        raise NoDaemon(f"the daemon gave no answer to {verb}")
    return items[0]


def state_on_disk(settings: Settings) -> Item:
    """Return what a daemon that is no more has left, in the form of the verb ``status``."""
    # Where a daemon answers, this is not needed.
    from runner.lifecycle import history  # noqa: PLC0415
    from runner.lifecycle.runs import kept  # noqa: PLC0415

    recent = history.read(settings.state_dir / HISTORY)
    return {
        "daemon": None,
        "running": [_record(path) for path in sorted(settings.state_dir.glob(_RECORDS))],
        "kept": [
            kept.shown(one, settings.keep_failed)
            for one in kept.remnants(settings.working_dir / kept.KEPT)
        ],
        "recent": [
            {name: getattr(ending, name) for name in ending.__dataclass_fields__}
            for ending in recent
        ],
    }


def _record(path: Path) -> Item:
    """Read without touching: the next daemon needs these files."""
    from runner.lifecycle.runs.record import readable  # noqa: PLC0415 - as above

    record = readable(path)
    if record is None:
        return {"key": "", "phase": "its record cannot be read", "run": path.parent.name}
    return {
        "key": record.key,
        "queue": record.message.queue,
        "attempt": record.attempt,
        # Its supervisor writes down the end, whoever is there to see it.
        "phase": "finishing" if path.with_name("exit.json").exists() else record.phase.value,
        "since": record.claimed_at,
        "cores": record.allocation.cores,
        "memory": record.allocation.memory,
        "gpus": list(record.allocation.gpus),
        "run": record.run,
        "output": None,
    }
