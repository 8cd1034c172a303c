"""What is masked, for how long, and that nothing grows."""

from __future__ import annotations

import base64
import gc
import itertools

import pytest

from runner.redaction import RedactingStream, Redactor, Secret
from runner.redaction.redactor import _KEPT_OWNERS

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("secrets", "text", "shown"),
    [
        (("abcdef", "defghi"), "x abcdefghi y", "x *** y"),
        (("abcdef", "abcdefghi"), "x abcdefghi abcdefg y", "x *** ***g y"),
        (("abcdefgh", "cdefgh"), "x abcdefgh cdefgh y", "x *** *** y"),
        (("aaaaaa",), "x aaaaaaaaaa y", "x *** y"),
        (("abcdef", "ghijkl"), "abcdefghijkl", "******"),
        (("päss wörd'9",), "repr 'päss wörd\\'9' \"päss wörd'9\"", "repr '***' \"***\""),
        (("päss/wörd",), "p%C3%A4ss%2Fw%C3%B6rd p%c3%a4ss/w%c3%b6rd", "*** ***"),
        (("hunter22", "password=hunter22"), "password=hunter22", "***"),
        ((KEY,), "line MIIEvQIBADAN alone", "line *** alone"),
        ((KEY,), "a dump " + repr(KEY), "a dump '***\\n'"),
        (("1", "true", "guest"), "1 true guest", "1 true guest"),
        (("<b>bold&secret",), "it is &lt;b&gt;bold&amp;secret", "it is ***"),
        (("0123456789abcdef",), b"0123456789abcdef".hex(), "***"),
    ],
)
def test_what_is_masked(secrets: tuple[str, ...], text: str, shown: str) -> None:
    """Overlapping values are one mask, a value in another one leaves nothing of that."""
    redactor = Redactor()
    redactor.add(*secrets)
    assert redactor.redact(text) == shown


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_base64_of_more_than_the_secret(before: int, after: int) -> None:
    """As in ``Authorization: Basic``: but for a character at its edges nothing is left."""
    redactor, secret = Redactor(), "the-secret/1234567"
    redactor.add(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = encode(b"u" * before + secret.encode() + b"x" * after).decode()
        assert "***" in redactor.redact(shown)
        assert len(redactor.redact(shown).replace("***", "")) <= 2 * 4 + 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"said": "{\\"password\\": \\"hunter22\\"}"}', '{"said": "{\\"password\\": \\"***\\"}"}'),
        (
            "https://h/o?X-Amz-Signature=0123ab&X-Amz-Date=1",
            "https://h/o?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("https://h/o?a=1&amp;sig=0123%2Fab", "https://h/o?a=1&amp;sig=***"),
        ('"SecretAccessKey": "abcd/efgh"', '"SecretAccessKey": "***"'),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN x", "jwt *** x"),
        ("num_tokens=123456 tokenizer: bert-base", "num_tokens=123456 tokenizer: bert-base"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\nthe_log goes on", "***_log goes on"),
    ],
)
def test_forms_that_carry_secrets(text: str, shown: str) -> None:
    """Signed addresses, tokens, and members of escaped JSON, which stays JSON."""
    assert Redactor().redact(text) == shown


def test_an_owners_secrets_are_known_until_a_while_after_its_end() -> None:
    """News of it may still be under way when it has ended; then they are gone without a trace."""
    redactor = Redactor()
    redactor.add("for-good")
    redactor.learn("run-1", ["of-the-run", "shared-by-two"])
    redactor.learn("run-2", ["shared-by-two", "for-good"])
    redactor.forget("run-1")
    assert redactor.redact("of-the-run shared-by-two for-good") == "*** *** ***"
    for number in range(_KEPT_OWNERS):
        redactor.learn(f"later-{number}", [f"secret-{number}"])
        redactor.forget(f"later-{number}")
    assert redactor.redact("of-the-run shared-by-two for-good") == "of-the-run *** ***"
    redactor.learn("run-2", [])
    assert redactor.redact("shared-by-two for-good") == "shared-by-two ***"


def test_who_comes_back_is_not_forgotten() -> None:
    """A run that is adopted anew in the same process begins anew."""
    redactor = Redactor()
    redactor.learn("run", ["of-the-run"])
    redactor.forget("run")
    redactor.learn("run", ["of-the-run"])
    for number in range(2 * _KEPT_OWNERS):
        redactor.learn(str(number), ["other-secret"])
        redactor.forget(str(number))
    assert redactor.redact("of-the-run") == "***"
    redactor.forget("nobody")


def test_thousands_of_experiments_leave_nothing() -> None:
    """Neither values nor tables grow with those that have ended."""
    redactor = Redactor()
    sizes = []
    for number in range(3_000):
        redactor.learn(str(number), [f"{number}-secret-of-{number * 7919}"])
        redactor.forget(str(number))
        if number % 1_000 == 999:
            gc.collect()
            sizes.append(len(redactor._known))
    # Some numbers have longer looks than others; none of those before is left.
    assert max(sizes) - min(sizes) < _KEPT_OWNERS
    assert len(redactor._owners) == len(redactor._ended) == _KEPT_OWNERS


def test_a_secret_learned_during_a_stream_is_masked_from_then_on() -> None:
    """As those of a credential that was just put there."""
    redactor = Redactor()
    stream: RedactingStream = redactor.stream()
    out = [stream.feed(b"of-the-run\n")]
    redactor.learn("run", ["of-the-run"])
    out += [stream.feed(one) for one in (b"of-t", b"he-run\n")]
    assert b"".join(out) == b"of-the-run\n***\n"


def test_among_thousands_of_values_each_is_found() -> None:
    """At every place against the windows by which they are found, and in pieces."""
    redactor = Redactor()
    secrets = [
        f"{number:05}{chr(97 + number % 26)}{'x' * (number % 23)}" for number in range(4_000)
    ]
    redactor.add(*secrets)
    for number, shift in itertools.product(range(0, 4_000, 371), range(9)):
        text = "-" * shift + secrets[number] + "-"
        assert redactor.redact(text) == "-" * shift + "***-", text


def test_plain_data_is_masked_in_all_its_texts() -> None:
    """Names stay, numbers stay."""
    redactor = Redactor()
    redactor.add("hunter22")
    data = {"a": ["is hunter22", 1, None], "b": {"c": ("hunter22", True)}}
    assert redactor.redact_all(data) == {"a": ["is ***", 1, None], "b": {"c": ["***", True]}}


def test_what_becomes_secret_is_masked_in_data_that_was_asked_for_before() -> None:
    """What is remembered of plain data is what was known then, and no longer."""
    redactor = Redactor()
    data = {"a": ["it says hunter-two-three"]}
    assert redactor.redact_all(data) == data
    redactor.learn("me", [Secret("hunter-two-three")])
    assert redactor.redact_all(data) == {"a": ["it says ***"]}
    redactor.learn("me", [])
    assert redactor.redact_all(data) == data
    redactor.add(Secret("it says"))
    assert redactor.redact_all(data) == {"a": ["*** hunter-two-three"]}
