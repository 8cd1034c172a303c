"""Experiments from Python: submit them, wait for them, read what came of them (docs/sweeps.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.client.api import Client
    from runner.client.options import Options
    from runner.client.results import Result
    from runner.client.submitted import Submitted, Sweep

__all__ = ["Client", "Options", "Result", "Submitted", "Sweep"]

_PLACES = {
    "Client": "api",
    "Options": "options",
    "Result": "results",
    "Submitted": "submitted",
    "Sweep": "submitted",
}


def __getattr__(name: str) -> Any:
    """Import late: a command that needs one module of this room shall not wait for all of it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no {name}")
    import importlib  # noqa: PLC0415 - the one use

    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
