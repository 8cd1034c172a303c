"""How an experiment ended, in the words that stand beside the client's own status of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from runner.lifecycle import causes
from runner.model import Completed, Deferred, Failed, Outcome, Refused, Stopped

#: In every channel the same word for the same kind of end.
WORDS = {
    Completed: "completed",
    Failed: "failed",
    Refused: "refused",
    Deferred: "deferred",
    Stopped: "stopped",
}


def verdict(
    outcome: Outcome, *, attempt: int, host: str, last_lines: Sequence[str]
) -> dict[str, object]:
    """Return it as JSON; of what went well only the little that there is to say.

    ``last_lines`` and the outcome's detail have been redacted.
    """
    told: dict[str, object] = {
        "outcome": WORDS[type(outcome)],
        "cause": outcome.cause.value,
        "exit_code": outcome.exit_code,
        "attempt": attempt,
        "host": host,
    }
    if isinstance(outcome, Completed):
        return told
    why = {"detail": outcome.detail, "advice": causes.advice(outcome.cause)}
    return told | why | {"last_lines": list(last_lines)}
