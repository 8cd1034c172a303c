"""URLs of RabbitMQ: what is read from them, and that nothing of them is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.queues.credential import AmqpCredential
from runner.queues.credentials import amqp_url
from runner.queues.credentials.finding import BadCredential


def test_a_url_is_known_without_its_login() -> None:
    """Two spellings of one virtual host are one; the password is known as written and as meant."""
    found = amqp_url.read("amqp://me:p%40ss-word@Host/%2F", "--amqp-url")
    credential = found.credential
    assert isinstance(credential, AmqpCredential)
    assert (credential.broker, credential.scope) == ("rabbitmq", "amqp://host:5672/%2F")
    assert credential.url.reveal() == "amqp://me:p%40ss-word@Host/%2F"
    assert {one.reveal() for one in found.secrets} == {"p%40ss-word", "p@ss-word"}
    assert "ss-word" not in repr(found)
    other = amqp_url.read("amqp://you:other@host:5672", "x").credential
    assert other.scope == credential.scope
    assert other.fingerprint != credential.fingerprint


@pytest.mark.parametrize(
    ("url", "management", "words"),
    [
        ("amqp://me:sesame@", "", "no broker's URL"),
        ("amqp://me:sesame@host:port/", "", "no broker's URL"),
        ("http://me:sesame@host/", "", "no broker's URL"),
        ("amqp://host/v", "", "without user or password"),
        ("amqp://me:@host/v", "", "without user or password"),
        ("amqp://me:sesame@host/v", "host:15672", "management URL that is none"),
        ("amqp://me:sesame@host/v", "http://me:sesame@host:99999", "management URL that is none"),
        ("amqp://me:sesame@[host/v", "", "no broker's URL"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, management: str, words: str) -> None:
    """The sentence says what to write and shows nothing of the URL."""
    with pytest.raises(BadCredential) as caught:
        amqp_url.read(url, "o", management_url=management)
    assert words in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_silence(text: str) -> None:
    """No URL makes the reader raise anything but its own error, whose text shows none of it."""
    said = ""
    try:
        amqp_url.read(f"amqp://{text}", "o", management_url=f"http://{text}")
    except BadCredential as error:
        said = str(error)
    assert len(text) < 8 or text not in said
