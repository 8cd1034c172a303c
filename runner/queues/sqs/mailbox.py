"""Reports in an SQS queue: ten of them in a call."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from runner.errors import QueueGone, QueueUnavailable, Unsupported
from runner.queues.mailbox import Mailbox, response_name
from runner.queues.sqs.account import Account
from runner.queues.sqs.receipt import taken, word

_FIFO = ".fifo"
_GROUP = "reports"


class SqsMailbox(Mailbox):
    """The URL is asked for once, and again when the queue was gone."""

    most = 10
    #: Of what SQS takes in one call, which counts more than the bodies.
    longest = 250_000

    def __init__(self, queue: str, account: Account) -> None:
        name = response_name(queue)
        super().__init__(name, name)
        self._account = account
        self._url = ""

    async def post(self, bodies: Sequence[bytes]) -> None:
        """Send them in one call."""
        entries = [self._entry(number, body) for number, body in enumerate(bodies)]
        try:
            url = await self._known_url()
            answer = await self._account.ask("send_message_batch", QueueUrl=url, Entries=entries)
        except QueueGone:
            self._url = ""
            raise
        if failed := answer.get("Failed"):
            why = f"{failed[0].get('Code')}: {failed[0].get('Message', '')}"
            kind = Unsupported if failed[0].get("SenderFault") else QueueUnavailable
            raise kind(f"{self.name} took {len(failed)} reports not ({why})")

    async def make(self) -> None:
        """Make the queue; one that is there stays as it is."""
        attributes = {"FifoQueue": "true"} if self.name.endswith(_FIFO) else {}
        try:
            await self._known_url()
        except QueueGone:
            answer = await self._account.ask(
                "create_queue", QueueName=self.name, Attributes=attributes
            )
            self._url = word(answer, "QueueUrl")

    async def _known_url(self) -> str:
        if not self._url:
            answer = await self._account.ask("get_queue_url", QueueName=self.name)
            self._url = word(answer, "QueueUrl")
        return self._url

    def _entry(self, number: int, body: bytes) -> dict[str, Any]:
        try:
            entry = {"Id": str(number), "MessageBody": taken(body.decode())}
        except UnicodeDecodeError as error:
            raise Unsupported(f"SQS carries text: the report is none ({error})") from error
        if self.name.endswith(_FIFO):  # one group, so that they keep their order
            entry |= {"MessageGroupId": _GROUP, "MessageDeduplicationId": secrets.token_hex(16)}
        return entry
