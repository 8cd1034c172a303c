"""Where to listen, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Misconfigured
from runner.settings import Settings
from runner.settings.listening import Listen, read_listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9464", Listen("127.0.0.1", 9464)),
        ("localhost:0", Listen("localhost", 0)),
        (":9090", Listen("", 9090)),
        ("*:9090", Listen("", 9090)),
        ("[::1]:9090", Listen("::1", 9090)),
        (" gpu-1.lab:80 ", Listen("gpu-1.lab", 80)),
        ("", None),
        ("  ", None),
    ],
)
def test_addresses_are_read(text: str, expected: Listen | None) -> None:
    """A host may be missing, which means all addresses; so may everything, which means none."""
    assert read_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["9464", "localhost", "localhost:", ":70000", "::1:80", "[x]:80", "a b:1", ":-1", ":٣"]
)
def test_what_is_no_address_is_refused_with_what_is_accepted(text: str) -> None:
    """A bare port or an IPv6 address without brackets could mean two things."""
    with pytest.raises(Misconfigured, match=r"--listen is .*: give HOST:PORT"):
        Settings.load(["--listen", text], {})


@given(st.from_regex(r"[a-z0-9]([a-z0-9.]*[a-z0-9])?", fullmatch=True), st.integers(0, 65535))
def test_what_is_shown_can_be_read_again(host: str, port: int) -> None:
    """The log and ``config`` show it as it is written."""
    listen = Listen(host, port)
    assert read_listen(str(listen)) == listen
    assert read_listen(str(Listen("fe80::1", port))) == Listen("fe80::1", port)


def test_the_original_s_variable_goes_on_working() -> None:
    """Also where it switches the listener off; the own name wins."""
    assert Settings.load([], {"PROM_ADDRESS": ":9090"}).listen == Listen("", 9090)
    assert Settings.load([], {"PROM_ADDRESS": ""}).listen is None
    assert Settings.load(["-prom-address", ":1"], {}).listen == Listen("", 1)
    both = {"PROM_ADDRESS": ":9090", "STUDIO_RUNNER_LISTEN": "127.0.0.1:0"}
    assert Settings.load([], both).listen == Listen("127.0.0.1", 0)
