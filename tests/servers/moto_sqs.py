"""SQS as the owner of its queues sees it, on any server, and credentials for the runner."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from runner.queues.credential import AwsCredential
from runner.redaction import Secret


@dataclass(frozen=True)
class Sqs:
    """A server of SQS; every call is one of botocore's, made with a client of its own."""

    endpoint: str
    credential: AwsCredential = field(init=False)

    def __post_init__(self) -> None:
        """Make the credential of the first account."""
        object.__setattr__(self, "credential", credential(self.endpoint))

    def ask(self, operation: str, **asked: Any) -> Any:
        """Make one call."""
        own = self.credential
        client = _session().create_client(
            "sqs",
            region_name=own.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=own.access_key,
            aws_secret_access_key=own.secret_key.reveal(),
        )
        with closing(client):
            return getattr(client, operation)(**asked)

    def url(self, name: str) -> str:
        """Return the URL of a queue."""
        return str(self.ask("get_queue_url", QueueName=name)["QueueUrl"])

    def create(self, name: str, **attributes: str) -> str:
        """Create a queue and return its URL."""
        return str(self.ask("create_queue", QueueName=name, Attributes=attributes)["QueueUrl"])

    def create_with_dead_letters(self, name: str, dead: str, receives: int = 100) -> str:
        """Create a queue and the one for its dead letters."""
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        self.create(dead, **attributes)
        told = self.ask(
            "get_queue_attributes", QueueUrl=self.url(dead), AttributeNames=["QueueArn"]
        )
        arn = told["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives})
        return self.create(name, RedrivePolicy=policy, **attributes)

    def delete(self, name: str) -> None:
        """Delete a queue."""
        self.ask("delete_queue", QueueUrl=self.url(name))

    def send(self, name: str, body: str) -> str:
        """Send a message as a client does."""
        return str(self.ask("send_message", QueueUrl=self.url(name), MessageBody=body)["MessageId"])

    def all_in(self, name: str) -> list[Mapping[str, Any]]:
        """Receive up to ten messages, with all that can be told about them."""
        answer = self.ask(
            "receive_message",
            QueueUrl=self.url(name),
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", ()))


@functools.cache
def _session() -> Any:
    import botocore.session  # noqa: PLC0415 - an SDK, late

    return botocore.session.Session()


def credential(endpoint: str, **other: Any) -> AwsCredential:
    """Return a credential for a server."""
    made = AwsCredential(
        broker="sqs",
        scope="aws_test",
        origin="certs/aws/test",
        fingerprint="1",
        region="us-west-2",
        access_key="AKIATESTTESTTEST0001",
        secret_key=Secret("a secret of forty characters, more or less"),
        endpoint=endpoint,
    )
    return replace(made, **other)
