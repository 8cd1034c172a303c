"""Submissions on their way to a queue: each is sent or not, and what is not leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from runner.client import listings
from runner.client.access import AnyQueue
from runner.client.message import Submission, message
from runner.client.sealing import Wrap
from runner.client.shop import Shop
from runner.errors import (
    Misconfigured,
    NotQueued,
    QueueDenied,
    QueueGone,
    QueueUnavailable,
    RunnerError,
)

#: With these a broker says that it has not taken the message.
_REFUSALS = (QueueDenied, QueueGone, NotQueued)


@dataclass
class Publication:
    """The submissions of one call, whose artifacts and listings are in the store."""

    shop: Shop
    submissions: Sequence[Submission]
    wrap: Wrap
    #: Of the messages that were queued, by the experiments' keys.
    ids: dict[str, str] = field(default_factory=dict)
    #: The broker fell silent while it was sent: it may be on the queue.
    doubtful: str = ""
    _begun: str = ""
    #: What could not be taken back.
    _trouble: str = ""

    async def publish(self, queue: AnyQueue) -> None:
        """Queue them one after the other.

        A failure or a cancellation leaves whole messages alone: the one under way is sent first,
        and those that never were are taken off the listings. Raises what store and queue raise; of
        several, with how far it came.
        """
        try:
            for one in self.submissions:
                await anyio.lowlevel.checkpoint()
                with anyio.CancelScope(shield=True):
                    await self._send(one, queue)
        except RunnerError as error:
            self._withdraw()
            is_all = isinstance(error, Misconfigured) and not self.ids
            kind = Misconfigured if is_all else RunnerError
            raise kind(f"{self.said}: {error}") from error
        except anyio.get_cancelled_exc_class():
            if self._begun not in self.ids:  # no shield keeps asyncio's own cancellation off
                self.doubtful = self._begun
            self._withdraw()
            raise

    @property
    def said(self) -> str:
        """How far it came."""
        count, last = len(self.ids), next(reversed(self.ids), "")
        done = f"only {count} of {len(self.submissions)} were queued, up to {last}"
        doubt = f"whether {self.doubtful} was queued is not known"
        certain = done if count else "" if self.doubtful else "nothing was queued"
        return "; ".join(filter(None, (certain, doubt if self.doubtful else "", self._trouble)))

    async def _send(self, one: Submission, queue: AnyQueue) -> None:
        self._begun = one.key
        self.shop.put_experiment(one)
        body = json.dumps(self.wrap(message(one))).encode()
        try:
            self.ids[one.key] = await queue.publish(body)
        except QueueUnavailable as error:
            self.doubtful = "" if isinstance(error, _REFUSALS) else one.key
            raise

    def _withdraw(self) -> None:
        """Take back what was written down of those that are on no queue, as far as that works."""
        left = [
            one for one in self.submissions if one.key not in self.ids and one.key != self.doubtful
        ]
        try:
            listings.withdraw(self.shop, left)
        except RunnerError:
            self._trouble = f"{self.shop} still lists what was not queued"
        for one in left:
            if one.key == self._begun:
                with suppress(RunnerError):
                    self.shop.forget(one)
