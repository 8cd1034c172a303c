"""How people name queues, and which credential opens the one that is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.queues.addresses import (
    AmqpAddress,
    LocalAddress,
    PubsubAddress,
    QueueAddress,
    SqsAddress,
    address_of,
    parse,
    server_of,
)
from runner.queues.credential import AmqpCredential, AwsCredential, Credential, GoogleCredential
from runner.redaction import Secret

ACCOUNT = "123456789012"


def aws(region: str = "eu-west-1", endpoint: str = "") -> AwsCredential:
    """Return keys for a region."""
    return AwsCredential(
        broker="sqs", scope="aws_x", origin="x", fingerprint="1", region=region, endpoint=endpoint
    )


def google(project: str = "my-project") -> GoogleCredential:
    """Return a key of a project."""
    return GoogleCredential(broker="pubsub", scope=project, origin="x", fingerprint="1")


def amqp(url: str) -> AmqpCredential:
    """Return a login of a virtual host."""
    return AmqpCredential(
        broker="rabbitmq", scope=url, origin="x", fingerprint="1", url=Secret(url)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local_mine", LocalAddress(name="local_mine")),
        ("local://local_mine", LocalAddress(name="local_mine")),
        (" local://mine\n", LocalAddress(name="mine")),
        ("sqs://sqs_x", SqsAddress(name="sqs_x")),
        ("sqs://eu-west-1/sqs_x", SqsAddress(name="sqs_x", region="eu-west-1")),
        (f"sqs://{ACCOUNT}/sqs_x", SqsAddress(name="sqs_x", account=ACCOUNT)),
        (
            f"sqs://eu-west-1/{ACCOUNT}/x.fifo",
            SqsAddress(name="x.fifo", region="eu-west-1", account=ACCOUNT),
        ),
        (
            f"https://sqs.us-gov-west-1.amazonaws.com/{ACCOUNT}/sqs_x",
            SqsAddress(name="sqs_x", region="us-gov-west-1", account=ACCOUNT),
        ),
        (
            f"https://sqs.cn-north-1.amazonaws.com.cn/{ACCOUNT}/sqs_x",
            SqsAddress(name="sqs_x", region="cn-north-1", account=ACCOUNT),
        ),
        (
            f"https://eu-west-1.queue.amazonaws.com/{ACCOUNT}/sqs_x",
            SqsAddress(name="sqs_x", region="eu-west-1", account=ACCOUNT),
        ),
        (
            f"https://vpce-1-x.sqs.eu-west-1.vpce.amazonaws.com/{ACCOUNT}/sqs_x",
            SqsAddress(name="sqs_x", region="eu-west-1", account=ACCOUNT),
        ),
        (
            f"HTTP://LocalHost:5000/{ACCOUNT}/sqs_x",
            SqsAddress(name="sqs_x", account=ACCOUNT, endpoint="http://localhost:5000"),
        ),
        ("pubsub://name_sub", PubsubAddress(name="name_sub")),
        ("pubsub://p-1/name_sub", PubsubAddress(name="name_sub", project="p-1")),
        ("pubsub://x.com:p-1/name_sub", PubsubAddress(name="name_sub", project="x.com:p-1")),
        ("projects/p-1/subscriptions/n_sub", PubsubAddress(name="n_sub", project="p-1")),
        ("rabbitmq://rmq_x", AmqpAddress(name="rmq_x")),
        ("rmq://rmq_x", AmqpAddress(name="rmq_x")),
        ("amqp://h?rmq_x", AmqpAddress(name="rmq_x", server="amqp://h:5672/%2F")),
        ("amqp://h/?rmq_x", AmqpAddress(name="rmq_x", server="amqp://h:5672/%2F")),
        ("amqp://h/%2f?rmq_x", AmqpAddress(name="rmq_x", server="amqp://h:5672/%2F")),
        ("amqp://h//rmq_x", AmqpAddress(name="rmq_x", server="amqp://h:5672/%2F")),
        ("amqp://h/v/a%2Fb", AmqpAddress(name="a/b", server="amqp://h:5672/v")),
        ("amqps://u:p@H:1/v?x", AmqpAddress(name="x", server="amqps://h:1/v")),
        ("amqp://[::1]/v?x", AmqpAddress(name="x", server="amqp://[::1]:5672/v")),
    ],
)
def test_every_form_is_understood(text: str, found: QueueAddress) -> None:
    """Each accepted form gives the same value again when it is written and read."""
    address = parse(text)
    assert address == found
    assert parse(str(address)) == found


def test_a_bare_name_is_of_the_broker_at_hand() -> None:
    """Beside a credential, short names are its own queues."""
    assert parse("mine", plain="sqs") == SqsAddress(name="mine")
    assert parse("mine", plain="pubsub") == PubsubAddress(name="mine")
    assert parse("mine", plain="rabbitmq") == AmqpAddress(name="mine")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "local://",
        "local://a/b",
        "local://.hidden",
        "a\nb",
        "gcp://x",
        "sqs://",
        "sqs://a b",
        "sqs://EU/x",
        "sqs://eu-west-1/12/x",
        f"sqs://eu-west-1/{ACCOUNT}/x/y",
        "https://sqs.eu-west-1.amazonaws.com/x",
        f"https:///{ACCOUNT}/x",
        f"https://h:x/{ACCOUNT}/x",
        "pubsub://",
        "pubsub://p-1/a/b",
        "projects/p-1/topics/t",
        "projects/p-1",
        "amqp://",
        "amqp://h",
        "amqp://h/v",
        "amqp://h/v?",
        "amqp://h/v?heartbeat=3&x=1",
        "amqp://h/v?%ff",
        "amqp://h:port/v?x",
        "amqp://h:70000/v?x",
        "amqp://[::1/v?x",
        "rabbitmq://h/x",
    ],
)
def test_what_is_no_queue_is_one_sentence(text: str) -> None:
    """It names the option, what was written, and the forms."""
    with pytest.raises(Misconfigured, match=r"^--queue is '.*': .*write local://NAME, sqs://"):
        parse(text)


def test_what_is_wrong_is_said_where_it_is_known() -> None:
    """A topic, a missing name and a bad port have a reason of their own, and a place."""
    with pytest.raises(Misconfigured, match="that is a topic"):
        parse("projects/p-1/topics/t")
    with pytest.raises(Misconfigured, match="name of the queue is missing"):
        parse("amqp://h/v")
    with pytest.raises(Misconfigured, match="port is no number"):
        parse("amqp://h:x/v?q")
    with pytest.raises(Misconfigured, match=r"^line 3 of certs/queues is 'nix://x'"):
        parse("nix://x", option="line 3 of certs/queues")


@pytest.mark.parametrize(
    "text",
    [
        "amqp://user:hunter22@h:x/v?q",
        "amqp://user:hunter22@h/v",
        "amqp://user:hunt/hunter22@h/v?q",
        "amqp://user:hunt?hunter22@h/v?q",
        "amqp://user:h#hunter22@h/v?q",
        "ampq://user:hunter22@h/v?q",
        "user:hunter22@h/v?q",
        f"https://user:hunter22@h/{ACCOUNT}/x",
        f"https://h/{ACCOUNT}/x?X-Amz-Signature=hunter22",
        "rabbitmq://user:hunter22@h",
    ],
)
def test_no_error_shows_a_password(text: str) -> None:
    """Not in the sentence, and in nothing that is chained to it."""
    with pytest.raises(Misconfigured) as caught:
        parse(text)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_login_is_a_secret() -> None:
    """User and password of an address open it, and are shown nowhere; they do not tell apart."""
    address = parse("amqp://user:hunter22@h/v?q")
    assert isinstance(address, AmqpAddress)
    assert address.login.reveal() == "amqp://user:hunter22@h/v"
    assert "hunter22" not in f"{address} {address!r}"
    assert address == parse("amqp://h/v?q")
    assert not AmqpAddress(name="q").login


@pytest.mark.parametrize(
    ("text", "credential", "opens"),
    [
        ("sqs://x", aws(), True),
        ("sqs://eu-west-1/x", aws(), True),
        ("sqs://us-east-1/x", aws(), False),
        (f"https://sqs.eu-west-1.amazonaws.com/{ACCOUNT}/x", aws(), True),
        (f"http://127.0.0.1:5000/{ACCOUNT}/x", aws(), False),
        (f"http://127.0.0.1:5000/{ACCOUNT}/x", aws(endpoint="http://127.0.0.1:5000/"), True),
        (f"http://127.0.0.1:5001/{ACCOUNT}/x", aws(endpoint="http://127.0.0.1:5000"), False),
        ("sqs://x", google(), False),
        ("pubsub://n_sub", google(), True),
        ("pubsub://my-project/n_sub", google(), True),
        ("pubsub://other-project/n_sub", google(), False),
        ("pubsub://n_sub", aws(), False),
        ("rabbitmq://x", amqp("amqp://u:p@h/v"), True),
        ("amqp://h:5672/v?x", amqp("amqp://u:p@h/v"), True),
        ("amqp://h/v?x", amqp("amqps://u:p@h/v"), False),
        ("amqp://h/w?x", amqp("amqp://u:p@h/v"), False),
        ("amqp://h?x", amqp("amqp://u:p@h/%2f"), True),
        ("amqp://h?x", amqp("not a url"), False),
        ("amqp://h?x", google(), False),
        ("local://x", aws(), False),
    ],
)
def test_credentials_open_what_they_may(text: str, credential: Credential, *, opens: bool) -> None:
    """Broker, region, server, project and virtual host have to agree where they are named."""
    assert parse(text).matches(credential) is opens


@pytest.mark.parametrize(
    ("credential", "text"),
    [
        (aws(), "sqs://eu-west-1/q_x"),
        (google(), "pubsub://my-project/q_x"),
        (amqp("amqp://u:hunter22@h/v"), "amqp://h:5672/v?q_x"),
    ],
)
def test_what_a_credential_shows_can_be_named(credential: Credential, text: str) -> None:
    """The address of a listed queue is accepted, opens with its credential, and has no secret."""
    address = address_of(credential, "q_x")
    assert str(address) == text
    assert parse(text) == address
    assert address.matches(credential)


def test_one_virtual_host_has_one_text() -> None:
    """However it is written, and without who logs in."""
    ways = ["amqp://h", "amqp://u:p@H:5672/", "amqp://h:5672/%2f", "amqp://x@h/%2F"]
    assert {server_of(way) for way in ways} == {"amqp://h:5672/%2F"}
    for text in ("http://h", "amqp://", "amqp://[x", "amqp://h:secret"):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it may not say is checked
            server_of(text)
        assert "secret" not in str(caught.value)


@given(text=st.text(max_size=80) | st.from_regex(r"(amqps?|sqs|https?|pubsub|rmq)://.{0,60}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but Misconfigured comes out; what is read can be written and read again."""
    try:
        address = parse(text)
    except Misconfigured:
        return
    assert parse(str(address)) == address
