"""Who may see what, decided on the request alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.redaction import Secret
from runner.web.guard import Policy, host_of, names_of, refusal
from runner.web.message import Request

LOCAL = Policy(is_local=True, hosts=frozenset({"gpu-1"}))
WIDE = Policy(is_local=False)
CLOSED = Policy(is_local=False, token=Secret("open sesame"))


def asked(method: str = "GET", **headers: str) -> Request:
    """Return a request; ``origin="…"`` becomes a header."""
    return Request(method, "/", {"host": "127.0.0.1:9464", **headers})


def status(request: Request, policy: Policy, *, is_open: bool = True) -> int:
    """Return the status of the refusal; 0: it is let through."""
    refused = refusal(request, policy, is_open=is_open)
    return refused.status if refused else 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9464",
        "localhost",
        "LOCALHOST:1",
        "[::1]:9464",
        "10.1.2.3",
        "gpu-1:9464",
        "gpu-1.",
    ],
)
def test_addresses_and_own_names_are_let_through(host: str) -> None:
    """Nobody can point an address or this machine's name at somebody else's page."""
    assert status(asked(host=host), LOCAL) == 0


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:9464",
        "127.0.0.1.evil.example",
        "a@127.0.0.1",
        "x:y:z",
    ],
)
def test_a_foreign_name_is_refused_and_the_remedy_named(host: str) -> None:
    """DNS rebinding: the browser sends the name that its page came from."""
    refused = refusal(asked(host=host), LOCAL, is_open=True)
    assert refused is not None
    assert refused.status == 421
    assert b"--web-hosts" in refused.body


def test_a_request_without_a_host_is_no_browser() -> None:
    """HTTP/1.0 has none; a health check may well speak it."""
    assert status(Request("GET", "/"), LOCAL) == 0


@given(st.text())
def test_any_host_is_judged(written: str) -> None:
    """Whatever stands in the header, there is an answer and no error."""
    host_of(written)
    assert status(asked(host=written), LOCAL) in {0, 421}


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:9464", 0),
        ("", 0),
        ("http://127.0.0.1:80", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_what_changes_something_must_come_from_here(origin: str, expected: int) -> None:
    """A form on another page may send a POST; what only looks may come from anywhere."""
    assert status(asked("POST", origin=origin), LOCAL) == expected
    assert status(asked("GET", origin=origin), LOCAL) == 0


def test_on_loopback_no_token_is_asked_for_unless_there_is_one() -> None:
    """Whoever sets a token means it."""
    assert status(asked(), LOCAL, is_open=False) == 0
    assert status(asked(), Policy(is_local=True, token=Secret("x")), is_open=False) == 401


def test_beyond_loopback_what_is_closed_stays_so_without_a_token() -> None:
    """Health and metrics are open, all else says which option opens it."""
    assert status(asked(), WIDE) == 0
    refused = refusal(asked(), WIDE, is_open=False)
    assert refused is not None
    assert refused.status == 403
    assert b"--web-token-file" in refused.body


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Bearer open sesame", 0),
        ("bearer  open sesame ", 0),
        ("", 401),
        ("Bearer", 401),
        ("Bearer open sesam", 401),
        ("Basic open sesame", 401),
        ("Bearer ☃", 401),
    ],
)
def test_the_token_opens(given: str, expected: int) -> None:
    """And nothing else does; the refusal says how to send it."""
    request = asked(authorization=given)
    assert status(request, CLOSED, is_open=False) == expected
    assert status(request, CLOSED) == 0


def test_a_token_is_compared_by_its_bytes() -> None:
    """As UTF-8, also where the last one would be a blank in a header's own letters."""
    token = "s\xe9same-\xe0"
    policy = Policy(is_local=False, token=Secret(token))
    sent = token.encode().decode("latin-1")
    assert status(asked(authorization=f"Bearer {sent}"), policy, is_open=False) == 0
    assert status(asked(authorization=f"Bearer {sent[:-1]}"), policy, is_open=False) == 401


def test_the_names_of_a_machine_are_its_long_and_its_short_one() -> None:
    """And those that the operator gave."""
    names = names_of("GPU-1.lab.example.", ["runner.svc"])
    assert names == {"gpu-1.lab.example", "gpu-1", "runner.svc"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-studio-runner": "page"}, 0),
        ({"x-studio-runner": "page", "sec-fetch-site": "same-origin"}, 0),
        ({"x-studio-runner": "page", "origin": "http://127.0.0.1:9464"}, 0),
        ({}, 403),
        ({"origin": "http://127.0.0.1:9464"}, 403),
        ({"x-studio-runner": "page", "sec-fetch-site": "cross-site"}, 403),
        ({"x-studio-runner": "page", "sec-fetch-site": "same-site"}, 403),
        ({"x-studio-runner": "page", "origin": "http://evil.example"}, 403),
        ({"x-studio-runner": "page", "host": "evil.example"}, 421),
    ],
)
def test_an_action_carries_what_no_foreign_form_can_send(
    headers: dict[str, str], expected: int
) -> None:
    """On loopback there may be no token: a page of somebody else must not do without one."""
    refused = refusal(asked("POST", **headers), LOCAL, is_open=False, is_action=True)
    assert (refused.status if refused else 0) == expected


def test_an_action_needs_the_token_all_the_same() -> None:
    """The header is no secret."""
    request = asked("POST", **{"x-studio-runner": "page"})
    for policy, expected in ((CLOSED, 401), (WIDE, 403)):
        refused = refusal(request, policy, is_open=False, is_action=True)
        assert refused is not None
        assert refused.status == expected
