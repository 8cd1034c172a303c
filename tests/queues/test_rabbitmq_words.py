"""What RabbitMQ is told, without asking one: URLs, names of parking queues, properties."""

from __future__ import annotations

import struct
from datetime import timedelta
from typing import cast

import pamqp.frame
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.common import FieldTable, FieldValue
from pamqp.header import ContentHeader

from runner.errors import Misconfigured, QueueUnavailable
from runner.queues.rabbitmq import parking
from runner.queues.rabbitmq.account import account_of
from runner.queues.rabbitmq.boundary import NoSuchQueue, translated
from runner.queues.rabbitmq.spectacles import legible
from tests.queues.rabbitmq_case import credential

NAMES = st.text(min_size=1, max_size=250).filter(lambda name: len(name.encode()) <= 255)
LEASES = st.integers(1, 10**7).map(lambda ms: timedelta(milliseconds=ms))


@pytest.mark.parametrize(
    ("url", "management"),
    [
        ("amqp://u:p@host/", "http://host:15672"),
        ("amqp://u:p@host:5673/v", "http://host:15673"),
        ("amqps://u:p@host/", "https://host:15671"),
        ("amqp://u:p@[::1]:5672/", "http://[::1]:15672"),
    ],
)
def test_the_management_interface_lies_ten_thousand_ports_away(url: str, management: str) -> None:
    """Same host, http for amqp and https for amqps, also where no port was written."""
    account = account_of(credential(url))
    assert account.management == management
    assert (account.management_user, account.management_password.reveal()) == ("u", "p")


def test_a_management_url_may_have_a_user_of_its_own() -> None:
    """It is used for the management interface alone, and nothing of it is shown."""
    account = account_of(
        credential("amqp://u:p@host/v%2Fw", management="https://boss:s%40fe@other:1/prefix/")
    )
    assert (account.user, account.password.reveal()) == ("u", "p")
    assert (account.management_user, account.management_password.reveal()) == ("boss", "s@fe")
    assert account.management == "https://other:1/prefix"
    assert account.virtual_host == "v/w"
    assert "s@fe" not in repr(account)


@pytest.mark.parametrize("url", ["amqp://u:p@host:99999/", "http://host/", "amqp:///v", ""])
def test_what_is_no_url_of_a_broker_is_refused(url: str) -> None:
    """The sentence says where it was found and what to write."""
    with pytest.raises(Misconfigured, match=r"rabbit/url.*amqp"):
        account_of(credential(url))


@given(user=st.text(min_size=1, max_size=20), password=st.text(min_size=1, max_size=20))
def test_any_user_and_password_reach_the_broker(user: str, password: str) -> None:
    """Percent-encoded in the credential, unchanged in what the SDK is given."""
    try:
        written = quoted(user), quoted(password)
    except UnicodeEncodeError:
        return
    account = account_of(credential(f"amqp://{written[0]}:{written[1]}@host/"))
    assert (account.user, account.password.reveal()) == (user, password)
    assert (account.url().user, account.url().password) == (user, password)


def quoted(text: str) -> str:
    """Percent-encode everything."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@given(source=NAMES, lease=LEASES)
def test_a_parking_queue_tells_its_lease_to_its_own_source_alone(
    source: str, lease: timedelta
) -> None:
    """Its name is new each time and short enough for the broker."""
    place = parking.place_for(source, lease)
    assert parking.lease_of(place, source) == lease
    assert parking.lease_of(place, f"{source}x") is None
    assert place != parking.place_for(source, lease)
    assert len(place.encode()) <= 255


@given(source=NAMES, other=NAMES, delay=LEASES)
def test_each_queue_has_waiting_rooms_of_its_own(source: str, other: str, delay: timedelta) -> None:
    """Two queues never share one, whatever their names."""
    room = parking.waiting_room(source, delay)
    assert len(room.encode()) <= 255
    assert (room == parking.waiting_room(other, delay)) == (source == other)


def test_a_queue_of_ours_outlives_what_lies_in_it() -> None:
    """The broker deletes an unused queue with everything in it: never before the last message."""
    for seconds in (0.001, 60, 10**9):
        arguments = parking.returning_to("rmq_demo", timedelta(seconds=seconds))
        assert 0 < arguments["x-message-ttl"] < arguments["x-expires"] < 2**32
        assert arguments["x-dead-letter-routing-key"] == "rmq_demo"


@pytest.mark.parametrize("written", [None, "7", -3, True, 2**62, {"a": 1}])
def test_a_count_that_somebody_made_up_does_no_harm(written: FieldValue) -> None:
    """What is no sensible number counts as none, and a huge one as many."""
    properties = Basic.Properties(headers={parking.RECEIVES: written})
    assert 0 <= parking.receives_of(properties) <= 1_000_000


def headers_of(properties: Basic.Properties) -> FieldTable:
    """Return the headers, which are there."""
    assert properties.headers is not None
    return properties.headers


def test_a_copy_of_a_copy_says_no_more_than_the_first() -> None:
    """Headers neither pile up nor are lost over any number of renewals."""
    original = Basic.Properties(headers={"mine": 1, "CC": ["x"]}, expiration="5", delivery_mode=2)
    once = parking.copy_of(original, "id", 1, number=1)
    twice = parking.copy_of(once, "id", 1, number=2)
    assert parking.number_of(twice) == 2
    assert {**headers_of(twice), "studio-runner.number": 1} == headers_of(once)
    assert once.expiration is None
    assert headers_of(once)["studio-runner.aside"] == {"CC": ["x"], "expiration": "5"}


def test_the_history_of_our_own_queues_is_dropped_and_others_kept() -> None:
    """Parking is nothing an owner needs to read about; how a message died elsewhere is."""
    for first, stays in (("studio-runner.held.1.a.0", False), ("theirs", True)):
        death: FieldTable = {"queue": first}
        headers: FieldTable = {"x-first-death-queue": first, "x-death": [death], "mine": 1}
        copied = headers_of(parking.copy_of(Basic.Properties(headers=headers), "id", 1))
        assert ("x-death" in copied) is stays
        assert copied["mine"] == 1


@pytest.mark.parametrize("given_id", ["", "with space", "new\nline", "x" * 200])
def test_an_id_that_cannot_be_shown_is_replaced_by_one_made_of_the_message(given_id: str) -> None:
    """The same for the same message, another for another body or another id."""
    properties = Basic.Properties(message_id=given_id)
    made = parking.id_of(properties, b"body")
    assert made == parking.id_of(properties, b"body")
    assert made != parking.id_of(properties, b"other")
    assert made.isalnum()
    assert parking.id_of(Basic.Properties(message_id="plain-1"), b"") == "plain-1"


@pytest.mark.parametrize(
    "stranger",
    [{1, 2}, object(), "\ud800", 2**70],
    ids=["a set", "an object", "half a character", "a huge number"],
)
def test_headers_that_cannot_be_written_do_not_hold_up_a_body(stranger: object) -> None:
    """All properties are dropped then, but for ours; text in another encoding is kept."""
    properties = Basic.Properties(headers=cast("FieldTable", {"a": stranger}), priority=3)
    copied = parking.copy_of(properties, "id", 4, number=5)
    assert headers_of(copied) == {parking.RECEIVES: 4, "studio-runner.number": 5}
    assert (copied.message_id, copied.priority, copied.delivery_mode) == ("id", None, 2)
    latin = parking.copy_of(Basic.Properties(headers={"a": [b"\xff"]}, priority=3), "id", 1)
    assert (headers_of(latin)["a"], latin.priority) == ([bytearray(b"\xff")], 3)


def content_header(properties: bytes, *, flags: int, size: int = 7) -> bytes:
    """Return a frame as the broker sends it before a body."""
    payload = struct.pack(">HHQH", 60, 0, size, flags) + properties
    return struct.pack(">BHI", 2, 9, len(payload)) + payload + b"\xce"


@pytest.mark.parametrize(
    ("properties", "flags"),
    [
        (struct.pack(">Q", 1_700_000_000_000_000), 64),  # a timestamp in microseconds
        (struct.pack(">I", 5) + b"\x02\xff\xfet\x01", 8192),  # the name of a header
        (struct.pack(">I", 4) + b"\x01kZ\x01", 8192),  # a type that nobody knows
        (b"\x02\xff\xfe", 128),  # a message's id
    ],
)
def test_properties_that_cannot_be_read_are_none(properties: bytes, flags: int) -> None:
    """The size of the body and the channel stay; what can be read stays altogether."""
    frame = content_header(properties, flags=flags)
    _, channel, header = pamqp.frame.unmarshal(legible(frame))
    assert isinstance(header, ContentHeader)
    assert (channel, header.body_size, header.properties.delivery_mode) == (9, 7, 2)
    fine = content_header(b"\x02ab", flags=128)
    assert legible(fine) == fine


def test_a_parked_message_keeps_the_trace_that_its_sender_named() -> None:
    """In the header where OpenTelemetry's instrumentations write it; what is no text is none."""
    sent = Basic.Properties(headers={"traceparent": "00-a-b-01"})
    assert parking.traceparent_of(sent) == "00-a-b-01"
    assert parking.traceparent_of(parking.copy_of(sent, "id", 2)) == "00-a-b-01"
    assert parking.traceparent_of(Basic.Properties(headers={"traceparent": 7})) == ""
    assert parking.traceparent_of(Basic.Properties()) == ""


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("no queue 'rmq_a' in vhost '/'", NoSuchQueue),
        ("home node 'a@b' of durable queue 'q' in vhost '/' is down or inaccessible", None),
        ("queue 'rmq_a' in vhost '/' process is stopped by supervisor", None),
        ("queue 'rmq_a' in vhost '/' has crashed and failed to restart", None),
        ("failed to perform operation on queue 'rmq_a' in vhost '/' due to timeout", None),
    ],
)
def test_a_queue_whose_node_is_down_is_not_deleted(
    said: str, kind: type[QueueUnavailable] | None
) -> None:
    """A cluster says 404 for it as well: who took that for a deletion would stop experiments."""
    with pytest.raises(QueueUnavailable, match=r"rmq_a|home node") as caught, translated("look"):
        raise ChannelNotFoundEntity(f"NOT_FOUND - {said}")
    assert type(caught.value) is (kind or QueueUnavailable)
