"""Reports on a topic of Pub/Sub, which every subscription of it gets."""

from __future__ import annotations

from collections.abc import Sequence

from runner.queues.mailbox import Mailbox, reading_name, response_topic
from runner.queues.pubsub import names
from runner.queues.pubsub.service import Service


class PubsubMailbox(Mailbox):
    """To publish is all the right that it needs, on that topic alone."""

    most = 500
    longest = 5 << 20

    def __init__(self, queue: str, service: Service) -> None:
        """``queue``: the subscription's id, or its path where it is of another project."""
        _, project, _, name = names.subscription_path(service.project, queue).split("/", 3)
        reads = names.subscription_path(project, reading_name("pubsub", name))
        super().__init__(response_topic(name), names.short(service.project, reads))
        self._subscription = reads
        self._topic = f"projects/{project}/topics/{self.name}"
        self._service = service

    async def post(self, bodies: Sequence[bytes]) -> None:
        """Publish them in one call."""
        await self._service.publish_all(self._topic, bodies)

    async def make(self) -> None:
        """Make topic and subscription; what is there stays as it is."""
        await self._service.make(self._subscription)
