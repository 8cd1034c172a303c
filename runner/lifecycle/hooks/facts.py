"""What a hook is told of an attempt: as variables, and as one JSON document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.lifecycle.board import Entry
from runner.lifecycle.verdict import WORDS
from runner.model import Outcome, Request

Facts = dict[str, Any]

PREFIX = "STUDIO_RUNNER_"
#: What of the daemon's own variables a hook gets: where programs are, who runs them, which
#: language they speak. Whatever may be a secret stays behind.
_PASSED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "XDG_RUNTIME_DIR",
    }
)
_LOCALE = "LC_"
#: Of one variable; the kernel refuses more than 128 KiB.
_LONGEST = 16_384


def of_attempt(entry: Entry, request: Request, *, host: str) -> Facts:
    """Return the facts of an attempt.

    Of the environment that the experiment asks for the names alone, of artifacts where they lie:
    nothing that opens a door. What else a message says is untrusted, and not redacted yet.
    """
    record, experiment, needs = entry.record, request.experiment, request.needs
    return {
        "key": record.key,
        "project": record.experiment_project,
        "queue": record.message.queue,
        "broker": record.broker,
        "account": record.project,
        "attempt": record.attempt,
        "run": record.run,
        "host": host,
        "workspace": str(record.workspace) if record.workspace else "",
        "image": record.image,
        "sealed": entry.is_sealed,
        "filename": experiment.filename,
        "args": list(experiment.args),
        "python_version": experiment.python_version or "",
        "requirements": list(experiment.requirements),
        "needs": {
            "cores": needs.cores,
            "memory": int(needs.memory),
            "disk": int(needs.disk),
            "gpus": needs.gpu_count,
            "gpu_memory": int(needs.gpu_memory),
        },
        "gpus": list(entry.ran_on),
        "env_names": sorted(request.env),
        "artifacts": {label: str(one.location) for label, one in request.artifacts.items()},
        "submitted": experiment.time_added,
        "claimed": record.claimed_at,
    }


def of_end(outcome: Outcome, settled: str, *, kept: str, seconds: float) -> Facts:
    """Return what more there is to tell when the attempt is over."""
    return {
        "outcome": WORDS[type(outcome)],
        "cause": outcome.cause.value,
        "exit_code": outcome.exit_code,
        "detail": outcome.detail,
        "settled": settled,
        "kept": kept,
        "seconds": round(seconds, 3),
    }


def variables(facts: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a hook: ``STUDIO_RUNNER_KEY`` and so on.

    Lists are parted by commas. ``own`` is the daemon's environment.
    """
    found = {name: text for name, text in own.items() if name in _PASSED or name[:3] == _LOCALE}
    flat = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    needs = facts.get("needs", {})
    flat |= {f"needs_{name}": value for name, value in needs.items()}
    if "run" in flat:  # by that name processes of the run itself are found, and ended
        flat["run_name"] = flat.pop("run")
    return found | {PREFIX + name.upper(): _text(value) for name, value in flat.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    # The kernel knows no such character in a variable; and what a message says may hold any.
    return text.replace("\0", "")[:_LONGEST].encode(errors="replace").decode()
