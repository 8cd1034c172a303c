"""How response queues are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.queues.choice import Choice
from runner.queues.mailbox import is_response, queue_of, reading_name, response_name

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: not is_response(name)
)


@pytest.mark.parametrize(
    ("broker", "queue", "reads"),
    [
        ("local", "local_demo", "local_demo_response"),
        ("rabbitmq", "rmq_a_sub", "rmq_a_sub_response"),
        ("sqs", "sqs_a.fifo", "sqs_a_response.fifo"),
        ("pubsub", "training_sub", "training_response_sub"),
        ("pubsub", "training", "training_response"),
    ],
)
def test_each_broker_has_its_own_way(broker: str, queue: str, reads: str) -> None:
    """A FIFO queue's is one, too; Pub/Sub reads subscriptions, which clients call by the topic."""
    assert reading_name(broker, queue) == reads
    assert queue_of(reads) == (queue if broker != "rabbitmq" else "rmq_a_sub")


@given(NAMES, st.sampled_from(["local", "rabbitmq", "sqs", "pubsub"]), st.booleans())
def test_the_names_lead_to_each_other(name: str, broker: str, is_fifo: bool) -> None:  # noqa: FBT001 - drawn
    """Whoever knows one knows the other; what is read for a response queue is itself."""
    queue = f"{name}.fifo" if is_fifo and broker == "sqs" else name
    reads = reading_name(broker, queue)
    assert queue_of(reads) == queue
    assert reading_name(broker, reads) == reads
    assert is_response(reads)
    assert not Choice().takes(reads)


@given(NAMES)
def test_only_its_own_name_gets_longer(name: str) -> None:
    """The original's form: the name, and ``_response``."""
    assert response_name(name) == f"{name}_response"
