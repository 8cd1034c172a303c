"""Receipts of SQS: what a successor is told, and how long a message can be held."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import LeaseLost
from runner.queues.sqs.facts import Facts
from runner.queues.sqs.receipt import (
    CEILING,
    MARK,
    Receipt,
    message_of,
    receipt_of,
    seconds,
    server_clock,
)

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/sqs_demo"
times = st.floats(min_value=0, max_value=4e9)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=20))


@given(st.text(), st.text(), times, st.none() | times, st.text())
def test_a_token_says_everything(
    url: str, handle: str, received: float, vanishes: float | None, group: str
) -> None:
    """A successor reads the same receipt that was written."""
    receipt = Receipt(url, handle, received, vanishes, group)
    assert Receipt.of(receipt.token) == receipt


@pytest.mark.parametrize("token", ["", "null", "[]", "{}", "17", '{"url": "x"}', '{"url":'])
def test_what_is_no_token_is_no_lease(token: str) -> None:
    """A record that was written by something else holds nothing."""
    with pytest.raises(LeaseLost, match="no receipt"):
        Receipt.of(token)


@given(received=times, now=times)
def test_nobody_holds_a_message_for_more_than_twelve_hours(received: float, now: float) -> None:
    """Whatever the clock was set to meanwhile."""
    left = Receipt(URL, "handle", received).ceiling(now)
    assert timedelta(0) <= left <= CEILING
    if now >= received + CEILING.total_seconds():
        assert left == timedelta(0)


@given(received=times, first=st.floats(0, 1e5), then=st.floats(0, 1e5))
def test_extending_does_not_move_the_ceiling(received: float, first: float, then: float) -> None:
    """As time goes on there is less left, never more."""
    receipt = Receipt(URL, "handle", received)
    assert receipt.ceiling(received + first + then) <= receipt.ceiling(received + first)


@given(received=times, age=st.floats(0, 1e5), life=st.none() | st.floats(0, 2e6))
def test_a_message_ages_while_there_is_still_time_to_hand_it_over(
    received: float, age: float, life: float | None
) -> None:
    """A sixth of what there was at first, two hours of SQS's twelve; never in a FIFO queue."""
    receipt = Receipt(URL, "handle", received, None if life is None else received + life)
    now, whole = received + age, receipt.limit(received)
    young = receipt.young_for(now)
    assert young is not None
    left = receipt.limit(now)
    assert young == pytest.approx(max(timedelta(0), left - whole / 6), abs=timedelta(seconds=0.01))
    assert Receipt(f"{URL}.fifo", "handle", received, receipt.vanishes).young_for(now) is None


def test_a_message_is_handed_over_after_ten_hours() -> None:
    """Where nothing else ends it before."""
    assert Receipt(URL, "handle", 1e9).young_for(1e9) == timedelta(hours=10)


@given(wanted=spans, left=spans)
def test_a_visibility_is_whole_seconds_within_what_is_left(
    wanted: timedelta, left: timedelta
) -> None:
    """Never shorter than wanted, unless the ceiling is nearer."""
    hidden = timedelta(seconds=seconds(wanted, left))
    assert hidden <= left
    assert hidden >= wanted or left - hidden < timedelta(seconds=1)
    assert hidden - wanted < timedelta(seconds=1)


@given(age=st.integers(0, 400_000), skew=st.floats(-1e6, 1e6), days=st.integers(1, 14))
def test_a_message_vanishes_at_its_queues_retention(age: int, skew: float, days: int) -> None:
    """Its age is SQS's to tell: a clock of ours that is off changes nothing."""
    server = 1_700_000_000.0
    now = server + skew
    sent = str(int((server - age) * 1000))
    found = {"ReceiptHandle": "handle", "Attributes": {"SentTimestamp": sent}}
    receipt = receipt_of(found, URL, now=now, server=server, retention=timedelta(days=days))
    left = max(0.0, days * 86_400 - age)
    expected = min(left, CEILING.total_seconds())
    assert receipt.limit(now).total_seconds() == pytest.approx(expected, abs=0.01)


def test_an_unknown_retention_leaves_the_ceiling() -> None:
    """A credential that may not ask for the queue's attributes holds as long as SQS allows."""
    found = {"ReceiptHandle": "handle", "Attributes": {"SentTimestamp": "1700000000000"}}
    receipt = receipt_of(found, URL, now=1.7e9, server=1.7e9, retention=None)
    assert receipt.limit(1.7e9) == CEILING


def test_a_message_is_read_byte_for_byte() -> None:
    """Whatever characters SQS carries."""
    body = 'a\t\r\n"\\ \u00e4 \u4e2d \U0001f600 \u2028'
    told = {"MessageId": "1", "Body": body, "Attributes": {"ApproximateReceiveCount": "3"}}
    message = message_of(told, "sqs_demo")
    assert message.body == body.encode()
    assert message.receive_count == 3


def test_a_mark_is_read_where_there_is_one() -> None:
    """Only a runner writes it; whatever else stands there is no mark."""
    told = {"MessageId": "1", "Body": "{}"}
    assert not message_of(told, "sqs_demo").mark
    marked = {**told, "MessageAttributes": {MARK: {"DataType": "String", "StringValue": "run"}}}
    assert message_of(marked, "sqs_demo").mark == "run"
    binary = {**told, "MessageAttributes": {MARK: {"DataType": "Binary", "BinaryValue": b"x"}}}
    assert not message_of(binary, "sqs_demo").mark


def test_a_trace_is_read_where_there_is_one() -> None:
    """As the SDKs of OpenTelemetry write it; nobody judges it here."""
    told = {"MessageId": "1", "Body": "{}"}
    assert message_of(told, "sqs_demo").traceparent == ""
    attribute = {"traceparent": {"DataType": "String", "StringValue": "00-a-b-01"}}
    traced = {**told, "MessageAttributes": attribute}
    assert message_of(traced, "sqs_demo").traceparent == "00-a-b-01"
    assert message_of(traced, "sqs_demo").mark == ""


def test_the_time_of_an_answer_is_the_servers() -> None:
    """Where it tells none, our own has to do."""
    date = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}
    assert server_clock({"ResponseMetadata": {"HTTPHeaders": date}}, 5.0) == 1_700_000_000.0
    assert server_clock({"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}}, 5.0) == 5.0
    assert server_clock({}, 5.0) == 5.0


def test_a_dead_letter_queue_is_found_by_its_arn() -> None:
    """No right to ask for its URL is needed."""
    policy = '{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:210987654321:dead","maxReceiveCount":3}'
    facts = Facts.of({"RedrivePolicy": policy, "MessageRetentionPeriod": "345600"})
    assert facts.dead_letters(URL) == "https://sqs.eu-west-1.amazonaws.com/210987654321/dead"
    assert facts.retention == timedelta(days=4)


@pytest.mark.parametrize("policy", ["", "{}", "[]", "null", '"x"', '{"deadLetterTargetArn": 7}'])
def test_a_strange_policy_is_none(policy: str) -> None:
    """Dead letters stay on this machine then."""
    assert not Facts.of({"RedrivePolicy": policy}).dead_letters(URL)
