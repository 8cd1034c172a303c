"""Whether traces are told, and where: by our option, or as every program is asked for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.app import tracing
from runner.app.masking import redactor_of
from runner.errors import Misconfigured
from runner.redaction import Redactor
from runner.settings import Settings

BASE = "http://collector:4318"
OURS = ["--otlp-endpoint", BASE]
STANDARD = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.fixture
def address(tmp_path: Path) -> Callable[..., str]:
    """Return what tells the address that a command line and variables come to; empty: none."""

    def of(*argv: str, **environ: str) -> str:
        variables = {"HOME": str(tmp_path), **environ}
        settings = Settings.load(argv, variables)
        post = tracing.opened(settings, variables, "owner", Redactor())
        found = tracing._address(settings, variables)[0]
        assert (post is not None) is bool(found)
        return found

    return of


def test_nobody_is_told_traces_who_did_not_ask(address: Callable[..., str]) -> None:
    """Nothing is imported, and nothing is sent anywhere."""
    assert address() == ""


@pytest.mark.parametrize("end", ["", "/", "/v1/traces", "/v1/traces/"])
def test_the_option_is_the_collectors_address(address: Callable[..., str], end: str) -> None:
    """The path for traces is added where it is not there, as the standard does."""
    assert address("--otlp-endpoint", BASE + end) == f"{BASE}/v1/traces"
    assert address(OTLP_ENDPOINT=BASE + end) == f"{BASE}/v1/traces"


def test_the_standard_variables_are_understood(address: Callable[..., str]) -> None:
    """The one for traces is the whole address, and goes before the one for everything."""
    assert address(**{STANDARD: f"{BASE}/base"}) == f"{BASE}/base/v1/traces"
    assert address(**{TRACES: f"{BASE}/custom"}) == f"{BASE}/custom"
    assert address(**{STANDARD: BASE, TRACES: f"{BASE}/custom"}) == f"{BASE}/custom"


def test_our_option_goes_before_what_is_meant_for_all(address: Callable[..., str]) -> None:
    """Whoever wrote it meant this program."""
    assert address(*OURS, **{STANDARD: "http://b", TRACES: "http://c"}) == f"{BASE}/v1/traces"


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=str
)
def test_the_standards_switches_are_heeded(
    address: Callable[..., str], off: dict[str, str]
) -> None:
    """But for who asked us by name."""
    assert address(**{STANDARD: BASE}, **off) == ""
    assert address(*OURS, **off) == f"{BASE}/v1/traces"


def test_an_address_that_is_none_ends_the_start(address: Callable[..., str]) -> None:
    """With the option's name, and without its value."""
    with pytest.raises(Misconfigured, match=r"--otlp-endpoint is no address"):
        address("--otlp-endpoint", "collector:4317")


def test_keys_in_headers_and_addresses_are_masked(tmp_path: Path) -> None:
    """Collectors of vendors want a key in one of them."""
    header = "X-Api-Key=header-5ecret-5ecret,x-team=machine-learning"
    environ = {"HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_HEADERS": header}
    settings = Settings.load(["--otlp-endpoint", "https://me:url-5ecret-5ecret@collector"], environ)
    redactor = redactor_of(settings, environ)
    assert tracing.opened(settings, environ, "owner", redactor) is not None
    assert "5ecret" not in redactor.redact(f"{header} at {settings.otlp_endpoint}")
