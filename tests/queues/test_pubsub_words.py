"""Names, settings, tokens and status codes of Pub/Sub: what is decided without asking anybody."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import any_pb2
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import LeaseLost, Misconfigured, QueueDenied, QueueGone, QueueUnavailable
from runner.queues.pubsub import names
from runner.queues.pubsub.facts import UNKNOWN, facts_of
from runner.queues.pubsub.queue import traceparent_of
from runner.queues.pubsub.subscription import lease_of
from runner.queues.pubsub.term import Term, now
from runner.queues.pubsub.trouble import Purpose, meaning

PURPOSE = Purpose("take messages of S", "S", "pubsub.subscriptions.consume", "grant it")


def failed(
    code: StatusCode, details: str = "said so", reasons: dict[str, str] | None = None
) -> AioRpcError:
    """Return a failed call; ``reasons`` by ack id as an exactly-once subscription gives them."""
    trailing = Metadata()
    if reasons:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(metadata=reasons))
        status = status_pb2.Status(code=3)
        status.details.append(detail)
        trailing = Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return AioRpcError(code, Metadata(), trailing, details)


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("training_sub", "training_sub"),
        ("projects/lab/subscriptions/training_sub", "training_sub"),
        ("pubsub://lab/training_sub", "training_sub"),
        ("pubsub://training_sub", "training_sub"),
        ("projects/other/subscriptions/s-1", "projects/other/subscriptions/s-1"),
    ],
)
def test_a_queue_has_one_name_however_it_is_written(written: str, short: str) -> None:
    """The id within the project; the path for a subscription of another project."""
    assert names.short("lab", written) == short
    assert names.short("lab", short) == short


def test_a_topic_is_no_queue() -> None:
    """Whoever names a topic is told the difference."""
    with pytest.raises(Misconfigured, match="topic"):
        names.short("lab", "projects/lab/topics/training")


def test_paths_are_as_clients_make_them() -> None:
    """A client calls the topic by the queue's name and adds ``_sub`` for the subscription."""
    path = names.subscription_path("lab", "training_sub")
    assert path == "projects/lab/subscriptions/training_sub"
    assert names.topic_path(path) == "projects/lab/topics/training"
    assert names.address(path) == "pubsub:lab/training_sub"


@pytest.mark.parametrize("name", ["q_response", "q_response_sub"])
def test_response_queues_are_known_by_name(name: str) -> None:
    """Reports go there: with and without the client's ending."""
    assert names.is_response(name)
    assert not names.is_response("responsive")


@given(ack_id=st.text(min_size=1), until=st.floats(min_value=0, max_value=1e9, allow_nan=False))
def test_a_token_says_what_was_held_and_until_when(ack_id: str, until: float) -> None:
    """Another daemon of this machine reads what the first one wrote."""
    read = Term.read(Term(ack_id, until).token())
    assert read.ack_id == ack_id
    assert read.until == pytest.approx(until, abs=0.001)


def test_a_token_of_an_earlier_boot_is_over() -> None:
    """Clocks of two starts of a machine cannot be compared."""
    token = json.loads(Term("a", now() + 1000).token())
    assert not Term.read(json.dumps(token)).is_over()
    assert Term.read(json.dumps({**token, "boot": "another"})).is_over()


@given(st.text())
def test_what_is_no_token_is_said(token: str) -> None:
    """Any other text is a ValueError, never something else."""
    with pytest.raises(ValueError, match="no token of Pub/Sub"):
        Term.read(token)


@given(st.floats(min_value=0.01, max_value=100_000))
def test_leases_are_what_pubsub_can_count(seconds: float) -> None:
    """Whole seconds from one to six hundred, never shorter than wanted where that is possible."""
    lease = lease_of(timedelta(seconds=seconds)).total_seconds()
    assert lease == int(lease)
    assert 1 <= lease <= 600
    assert lease >= min(seconds, 600)


def test_the_settings_that_matter_are_read() -> None:
    """Retention bounds how long a message can be held; an unknown one bounds nothing."""
    facts = facts_of(
        types.Subscription(
            topic="projects/lab/topics/t",
            message_retention_duration=timedelta(hours=24),
            enable_exactly_once_delivery=True,
            dead_letter_policy=types.DeadLetterPolicy(dead_letter_topic="projects/lab/topics/d"),
        )
    )
    assert facts.exactly_once
    assert facts.is_pullable
    assert facts.dead_letter_topic == "projects/lab/topics/d"
    left = facts.hold_limit(datetime.now(UTC) - timedelta(hours=20))
    assert left is not None
    assert timedelta(hours=3, minutes=59) < left <= timedelta(hours=4)
    assert facts.hold_limit(datetime.now(UTC) - timedelta(days=9)) == timedelta(0)
    assert UNKNOWN.hold_limit(datetime.now(UTC)) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"push_config": {"push_endpoint": "https://example.com"}},
        {"bigquery_config": {"table": "t"}},
        {"cloud_storage_config": {"bucket": "b"}},
        {"bigtable_config": {"table": "t"}},
        {"detached": True},
    ],
)
def test_what_is_delivered_elsewhere_cannot_be_pulled(settings: dict[str, object]) -> None:
    """Push and export subscriptions are nobody's queue."""
    assert not facts_of(types.Subscription(**settings)).is_pullable


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (failed(StatusCode.UNAVAILABLE), QueueUnavailable, "could not take messages"),
        (failed(StatusCode.RESOURCE_EXHAUSTED), QueueUnavailable, "RESOURCE_EXHAUSTED"),
        (failed(StatusCode.DEADLINE_EXCEEDED), QueueUnavailable, "DEADLINE_EXCEEDED"),
        (failed(StatusCode.INTERNAL), QueueUnavailable, "INTERNAL"),
        (failed(StatusCode.UNAUTHENTICATED), QueueDenied, "refuses the lab's key"),
        (
            failed(
                StatusCode.UNAVAILABLE,
                "Getting metadata from plugin failed with error: ('invalid_grant: Invalid JWT', ",
            ),
            QueueDenied,
            "refuses the lab's key",
        ),
        (
            failed(StatusCode.UNAVAILABLE, "Getting metadata from plugin failed: timed out"),
            QueueUnavailable,
            "timed out",
        ),
        (failed(StatusCode.PERMISSION_DENIED), QueueDenied, "pubsub.subscriptions.consume on S"),
        (failed(StatusCode.NOT_FOUND, "Resource not found (resource=S)."), QueueGone, "S does not"),
        (
            failed(StatusCode.NOT_FOUND, "Requested project not found or user does not have "),
            QueueDenied,
            "may not take messages",
        ),
        (
            failed(StatusCode.INVALID_ARGUMENT, reasons={"a": "PERMANENT_FAILURE_INVALID_ACK_ID"}),
            LeaseLost,
            "no longer ours",
        ),
        (
            failed(StatusCode.UNAVAILABLE, reasons={"a": "TRANSIENT_FAILURE_OTHER"}),
            QueueUnavailable,
            "TRANSIENT_FAILURE_OTHER",
        ),
    ],
)
def test_every_status_has_a_meaning(error: AioRpcError, kind: type[Exception], words: str) -> None:
    """Who must act decides the class; the sentence names the right and the remedy."""
    found = meaning(error, PURPOSE, "the lab's key")
    assert type(found) is kind
    assert words in str(found)


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({}, ""),
        ({"traceparent": "00-a-b-01"}, "00-a-b-01"),
        ({"googclient_traceparent": "00-c-d-01"}, "00-c-d-01"),
        ({"googclient_traceparent": "00-c-d-01", "traceparent": "00-a-b-01"}, "00-a-b-01"),
    ],
    ids=str,
)
def test_a_message_names_its_trace_in_an_attribute(attributes: dict[str, str], found: str) -> None:
    """By W3C's name, or by that which Google's own clients have for it."""
    assert traceparent_of(attributes) == found
