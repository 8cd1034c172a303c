"""Whether ``submit`` sends a request in clear text, or sealed and signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.errors import Misconfigured

Wrap = Callable[[dict[str, Any]], dict[str, Any]]
"""Puts what is sent around a request."""


def wrapping(public_key: str | None, signing_key: str | None) -> Wrap:
    """Return what the files of the keys ask for. Raises Misconfigured."""
    if public_key is None and signing_key is None:
        return lambda request: request
    if public_key is None or signing_key is None:
        missing = "--public-key-path" if public_key is None else "--signing-key-path"
        raise Misconfigured(f"{missing} is missing: a request is both sealed and signed")
    from runner.privacy import making  # noqa: PLC0415 - it imports cryptography
    from runner.privacy.envelope import envelope  # noqa: PLC0415

    sealing = making.sealing_key(Path(public_key).expanduser())
    signing = making.signing_key(Path(signing_key).expanduser())
    return lambda request: envelope(request, sealing, signing)
