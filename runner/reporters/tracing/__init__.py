"""Where traces of experiments go: spans are posted here, and sent in the background."""

import importlib.util

from runner.registry import Registry

EXPORTERS = Registry("exporter of traces", {"otlp": ("runner.reporters.tracing.otlp:Otlp", "otel")})


def is_installed() -> bool:
    """Tell whether the packages of the extra ``otel`` are there, without importing them.

    That takes half a second, which a daemon's start does not wait for.
    """
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
