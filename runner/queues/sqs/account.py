"""The calls of one account: threads that are counted, the credential of the moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from runner import blocking
from runner.queues.credential import AwsCredential
from runner.queues.sqs.client import CALLS, POLLS, Client

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll brought, and when: whoever waits for it may hear of it much later."""

    answer: Answer
    #: Seconds of the monotonic clock.
    at: float
    #: Seconds since the epoch, by our clock.
    time: float


class Account:
    """Asks SQS, from any event loop; usable after ``close``, when nothing is kept open any more.

    Polls and calls have threads and connections of their own: two hundred open polls delay no
    renewal.
    """

    def __init__(self, credential: AwsCredential, timeout: timedelta) -> None:
        """``timeout``: of one call that is no poll."""
        self._timeout = timeout.total_seconds()
        self._client = Client(credential, self._timeout)
        self._polls = blocking.Limit(POLLS)
        self._calls = blocking.Limit(CALLS)

    @property
    def credential(self) -> AwsCredential:
        """Return the credential that the next call uses."""
        return self._client.credential

    async def ask(self, operation: str, **asked: Any) -> Answer:
        """Make one call. Raises QueueUnavailable and its kin, LeaseLost, Unsupported."""
        client = self._client

        def call(stop: blocking.Stop) -> Answer:
            with client.used():
                return client.call(stop, operation, asked)

        return await blocking.call(call, limit=self._calls)

    async def poll(self, wait: int, **asked: Any) -> Polled:
        """Receive; SQS answers after ``wait`` seconds when nothing comes before."""
        client = self._client

        def call(stop: blocking.Stop) -> Polled:
            with client.used():
                words = {"WaitTimeSeconds": wait, **asked}
                answer = client.call(stop, "receive_message", words, wait)
            return Polled(answer, time.monotonic(), time.time())

        return await blocking.call(call, limit=self._polls)

    def renew(self, credential: AwsCredential) -> None:
        """Use another credential; what is under way ends as it began."""
        before, self._client = self._client, Client(credential, self._timeout)
        before.retire()

    def close(self) -> None:
        """Keep no connection open from now on."""
        self._client.retire()
