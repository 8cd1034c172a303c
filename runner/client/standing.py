"""How an experiment stands, as its store tells it: wherever it runs, and without a daemon."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from runner.client.shop import Shop
from runner.lifecycle.causes import advice
from runner.lifecycle.ownership.record import ClaimRecord, State
from runner.model import Cause


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one experiment."""

    key: str
    #: ``waiting``, ``running``, ``released``, ``ended``, or ``stopped`` where that is wanted and
    #: not done yet.
    state: str
    attempt: int = 0
    host: str = ""
    #: Why it ended; of a released one, why its last attempt did.
    cause: str | None = None
    exit_code: int | None = None
    detail: str = ""
    #: The message lies among the dead letters.
    buried: bool = False
    #: Seconds since the epoch, by the client's clock.
    submitted: float | None = None
    #: The same, by the runner's clock: its last sign of life.
    updated: float | None = None
    #: When the attempt was claimed, by the same clock; ``None`` where nobody wrote it down.
    begun: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return everything for scripts."""
        return {**asdict(self), "advice": self.advice}

    @property
    def seconds(self) -> float | None:
        """From the last attempt's claim to its last sign of life; of one that ended, all of it."""
        if self.begun is None or self.updated is None:
            return None
        return moment(max(self.updated - self.begun, 0.0))

    @property
    def advice(self) -> str:
        """Say in a sentence what to do about its end; empty while there is nothing to be done."""
        if self.state != State.ENDED or self.cause not in set(Cause) - {Cause.COMPLETED}:
            return ""
        return advice(Cause(self.cause))


def standing(shop: Shop, key: str) -> Standing | None:
    """Ask a store; ``None`` where it knows nothing. Raises what the store raises."""
    record, claim = shop.experiment(key), shop.claim(key)
    if record is None and claim is None:
        return None
    return of(key, record or {}, claim)


def of(key: str, record: dict[str, Any], claim: ClaimRecord | None) -> Standing:
    """Put together what the client's record and the runners' claim say."""
    submitted = moment(record.get("time_added"))
    is_stopped = record.get("status") == "stopped"
    if claim is None or is_of_earlier(claim, submitted):
        return Standing(key, "stopped" if is_stopped else "waiting", submitted=submitted)
    outcome = claim.outcome if claim.state is State.ENDED else None
    wanted = is_stopped and claim.state is not State.ENDED
    return Standing(
        key,
        "stopped" if wanted else claim.state.value,
        claim.attempt,
        claim.owner.host,
        outcome.cause if outcome else claim.previous_cause,
        outcome.exit_code if outcome else None,
        outcome.detail if outcome else "",
        claim.buried and not claim.burying,
        submitted if submitted is not None else claim.submitted,
        claim.updated_at or None,
        claim.begun_at or None,
    )


def moment(written: object) -> float | None:
    """Return seconds as a number that a store's document may have; ``None`` for what is none."""
    if isinstance(written, bool) or not isinstance(written, int | float):
        return None
    try:
        return float(written) if math.isfinite(written) else None
    except OverflowError:  # a whole number that is larger than any float
        return None


def is_of_earlier(claim: ClaimRecord, submitted: float | None) -> bool:
    """Tell whether the claim belongs to an earlier submission of the key."""
    return submitted is not None and claim.submitted not in {None, submitted}
