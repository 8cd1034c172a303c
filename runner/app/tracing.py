"""Traces of experiments: whether they are told, and to which collector."""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Iterator, Mapping

from runner import __version__, log
from runner.app.reporting import check_address
from runner.errors import Misconfigured
from runner.lifecycle.trail import Tracing
from runner.redaction import Redactor
from runner.reporters.tracing import EXPORTERS, is_installed
from runner.reporters.tracing.base import Exporter
from runner.reporters.tracing.posting import SpanPost
from runner.settings import Settings, Source

_log = log.get_logger(__name__)

#: The option's other name is OpenTelemetry's own variable, which may be there for other programs.
_STANDARD = "OTEL_EXPORTER_OTLP_ENDPOINT"
#: What is asked of all programs on a machine; the exporter reads the others itself.
_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_DISABLED, _EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PATH = "/v1/traces"


def opened(
    settings: Settings, environ: Mapping[str, str], owner: str, redactor: Redactor
) -> SpanPost | None:
    """Return where spans are posted, not yet running; ``None``: no traces are told.

    Raises Misconfigured, unless only a variable that is meant for all programs asks for traces.
    """
    address, is_ours = _address(settings, environ)
    if not address:
        return None
    check_address("--otlp-endpoint", address)
    if not is_installed():
        said = (
            "traces need packages that are not installed: pip install 'studio-runner[otel]', or "
            "take away --otlp-endpoint"
        )
        if is_ours:
            raise Misconfigured(said)
        _log.warning(said)
        return None
    redactor.add(*_secrets(environ))
    if (protocol := _first(environ, _PROTOCOLS)) not in {"", "http/protobuf"}:
        _log.warning("traces are told by http/protobuf alone", wanted=protocol)
    resource = {
        "service.name": "studio-runner",
        "service.version": __version__,
        "service.instance.id": owner,
        "host.name": socket.gethostname(),
    }

    def exporter() -> Exporter:
        made: Exporter = EXPORTERS.load("otlp")(address, resource)
        return made

    return SpanPost(exporter)


def tracing(post: SpanPost | None, redactor: Redactor) -> Tracing:
    """Return what attempts tell their spans to."""
    return Tracing(post.add if post else None, redactor.redact)


def _address(settings: Settings, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return the whole address, empty where none is wanted; and whether it was given to us alone.

    What is written for us goes before what is written for all; of that, what is for traces alone.
    """
    origin = settings.origins["otlp_endpoint"]
    is_ours = settings.given("otlp_endpoint") and not (
        origin.source is Source.ENVIRONMENT and origin.name.endswith(_STANDARD)
    )
    if is_ours:
        return _with_path(settings.otlp_endpoint), True
    is_off = environ.get(_DISABLED, "").strip().lower() == "true"
    if is_off or environ.get(_EXPORTER, "otlp").strip().lower() == "none":
        return "", False
    return environ.get(_TRACES, "").strip() or _with_path(settings.otlp_endpoint), False


def _with_path(base: str) -> str:
    """Return the collector's address for traces, as the standard makes it of one for everything."""
    if not base:
        return ""
    parts = urllib.parse.urlsplit(base)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what headers bear: a key, most of the time."""
    for name in _HEADERS:
        for part in environ.get(name, "").split(","):
            value = part.partition("=")[2].strip()
            yield from {value, urllib.parse.unquote(value)} - {""}


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name].strip() for name in names if environ.get(name)), "")
