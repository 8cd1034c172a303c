"""What the broker is told about an outcome: pure, total, one disposition for each (design 5.15)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from runner.model import (
    Ack,
    Bury,
    Cause,
    Completed,
    Deferred,
    Disposition,
    Failed,
    Outcome,
    Release,
    Request,
)

NO_DELAY = timedelta(0)

#: Retried, and counted, unless nothing is left of ``max_attempts``; then buried.
RETRIED = frozenset(
    {
        Cause.OUT_OF_DISK,
        Cause.GPU_FAULT,
        Cause.SANDBOX_UNAVAILABLE,
        Cause.STORE_UNAVAILABLE,
        Cause.HOST_FAULT,
        Cause.ORPHANED,
        Cause.INTERNAL,
    }
)
#: Of these, what does not count: the card broke, or the walls do not stand, and the experiment had
#: no part in it. Nor does what else this machine failed of before anything ran (``unbegun``).
UNCOUNTED = frozenset({Cause.GPU_FAULT, Cause.SANDBOX_UNAVAILABLE})
#: Acknowledged at once, since output and reason are stored, unless somebody wants them retried.
FINAL = frozenset(
    {
        Cause.EXIT,
        Cause.SIGNAL,
        Cause.OUT_OF_MEMORY,
        Cause.TOO_MANY_PROCESSES,
        Cause.GPU_OUT_OF_MEMORY,
        Cause.TIME_LIMIT,
        Cause.IDLE,
        Cause.LIFETIME,
        Cause.ARTIFACT_MISSING,
        Cause.ARTIFACT_BAD,
        Cause.REQUIREMENTS,
        Cause.PYTHON_MISSING,
    }
)
#: Given back at once and not counted: the experiment had no part in it.
INTERRUPTED = frozenset({Cause.DRAINED, Cause.LEASE_LOST})
#: Given back for as long as possible: somebody else may have a use for it.
FOR_OTHERS = frozenset(
    {
        Cause.TOO_BIG,
        Cause.NOT_A_REQUEST,
        Cause.NO_ROOM,
        Cause.DEFERRED_BY_HOOK,
        Cause.HOOK_FAILED,
    }
)
GIVEN_BACK = INTERRUPTED | FOR_OTHERS
#: Over, whoever brought it to its end. ``NOT_OURS`` is over where it is no ``Deferred``: the
#: experiment's record says that it has ended before.
OVER = frozenset({Cause.COMPLETED, Cause.CANCELLED, Cause.NOT_OURS})
#: Nobody can do anything with it but its sender, who has to be told why.
BURIED = frozenset({Cause.BAD_REQUEST, Cause.RESULTS_DENIED, Cause.REFUSED_BY_HOOK})
#: As causes of a ``Deferred``: a store or a package index that did not answer before anything of
#: the experiment had begun.
OUTAGES = frozenset({Cause.STORE_UNAVAILABLE, Cause.HOST_FAULT})
#: As causes of a ``Deferred``: until the operator, or the operator's hook, has it otherwise. Never
#: is anything buried for it, and each time it waits for longer.
_HOOKS = frozenset({Cause.DEFERRED_BY_HOOK, Cause.HOOK_FAILED})
#: An expired lifetime stays expired.
NEVER_RETRIED = frozenset({Cause.LIFETIME})
#: What a message that brings down a daemon looks like afterwards.
_POISONOUS = frozenset({Cause.HOST_FAULT, Cause.ORPHANED, Cause.INTERNAL})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an experiment is tried, for what, and how long we wait in between."""

    max_attempts: int = 3
    #: Causes that are retried besides those in ``RETRIED``.
    retry_on: frozenset[Cause] = frozenset()
    base_delay: timedelta = timedelta(seconds=30)
    longest_delay: timedelta = timedelta(minutes=15)
    #: A message that the broker has handed out so often, and that then fails for a reason that
    #: may be the message itself, is buried whatever the count of attempts says.
    fuse: int = 30
    #: As often is a message handed out whose store never answers, under which cards break, or that
    #: no machine can begin; with the longest delay that is about a day, in which an outage would
    #: have ended, and a misspelt host would not.
    patience: int = 100

    def wished(self, names: Iterable[str], max_attempts: int | None) -> RetryPolicy:
        """Add what a request wants: further causes by name, its own number of attempts."""
        known = {cause.value: cause for cause in Cause}
        return replace(
            self,
            retry_on=self.retry_on | {known[name] for name in names if name in known},
            max_attempts=max_attempts or self.max_attempts,
        )

    def of(self, request: Request) -> RetryPolicy:
        """Return what holds for a request: the operator's policy with the sender's wishes."""
        return self.wished(request.retry_on, request.max_attempts)

    def retries(self, cause: Cause) -> bool:
        """Say whether this cause is worth another attempt, as long as there are any left."""
        return cause not in NEVER_RETRIED and (
            cause in RETRIED or (cause in FINAL and cause in self.retry_on)
        )

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after the ``attempt``-th counted attempt: doubling, up to the longest."""
        doublings = min(max(attempt - 1, 0), 32)
        return min(self.base_delay * (1 << doublings), self.longest_delay)


def counts(outcome: Outcome) -> bool:
    """Say whether this outcome uses up one of the attempts."""
    return not (isinstance(outcome, Deferred) or _is_blameless(outcome)) and outcome.cause in (
        RETRIED | FINAL
    )


def dispose(
    outcome: Outcome, *, attempt: int, policy: RetryPolicy, receive_count: int, tries: int = 0
) -> Disposition:
    """Decide what becomes of the message.

    ``attempt`` is the number of counted attempts so far, this one included if it counts;
    ``receive_count`` is the broker's own count, used as nothing but a fuse; ``tries`` is that of
    all attempts, for brokers that do not count, and used for nothing but the delay.
    """
    delay = policy.delay(max(receive_count, tries))
    if isinstance(outcome, Deferred):
        return _deferred(outcome, policy, receive_count, delay)
    if isinstance(outcome, Completed) or outcome.cause in OVER:
        return Ack()
    if outcome.cause in GIVEN_BACK:
        return Release(NO_DELAY if outcome.cause in INTERRUPTED else policy.longest_delay)
    if outcome.cause in BURIED:
        return Bury(outcome.detail or outcome.cause.value)
    if _is_blameless(outcome):
        return _uncounted(outcome, policy, receive_count, delay)
    return _after_failure(outcome, attempt, policy, receive_count)


def _is_blameless(outcome: Outcome) -> bool:
    is_unbegun = isinstance(outcome, Failed) and outcome.unbegun
    return is_unbegun or outcome.cause in UNCOUNTED


def _deferred(
    outcome: Deferred, policy: RetryPolicy, receive_count: int, delay: timedelta
) -> Disposition:
    if outcome.cause in _HOOKS:
        return Release(max(outcome.delay, delay))
    if outcome.cause not in OUTAGES:
        return Release(outcome.delay)
    return _uncounted(outcome, policy, receive_count, max(outcome.delay, delay))


def _uncounted(
    outcome: Outcome, policy: RetryPolicy, receive_count: int, delay: timedelta
) -> Disposition:
    if receive_count < policy.patience:
        return Release(delay)
    times = f"handed out {receive_count} times"
    return Bury(f"{outcome.cause.value}, {times}: {outcome.detail}")


def _after_failure(
    outcome: Outcome, attempt: int, policy: RetryPolicy, receive_count: int
) -> Disposition:
    cause = outcome.cause
    if isinstance(outcome, Failed) and outcome.outgrew and cause not in policy.retry_on:
        return Ack()
    is_poison = cause in _POISONOUS and receive_count >= policy.fuse
    if policy.retries(cause) and attempt < policy.max_attempts and not is_poison:
        at_once = isinstance(outcome, Failed) and outcome.at_once
        return Release(NO_DELAY if at_once else policy.delay(attempt))
    if cause in FINAL:
        return Ack()
    times = f"handed out {receive_count} times" if is_poison else f"{attempt} attempts"
    said = f": {outcome.detail}" if outcome.detail else ""
    return Bury(f"{cause.value} after {times}{said}")
