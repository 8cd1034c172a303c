"""Which experiments a sweep or a project has: one object for each, beside the artifacts.

Stores are asked for objects by name alone, so what belongs together is written down when it is
submitted::

    {"experiments": [{"key": …, "submitted": …, "script": …, "parameters": {"lr": "0.1"}}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from runner.client.message import Submission
from runner.client.shop import Shop
from runner.errors import BadField, Misconfigured
from runner.request.names import component

#: The newest that a listing keeps.
_MOST = 10_000
_SWEEPS, _PROJECTS = "listings/sweeps", "listings/projects"


@dataclass(frozen=True, slots=True)
class Listed:
    """One experiment as it was submitted."""

    key: str
    #: Seconds since the epoch; ``None``: not known.
    submitted: float | None = None
    script: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def sweep_name(name: str) -> str:
    """Return the name where it can be one of an object. Raises Misconfigured."""
    try:
        return component("--sweep", name)
    except BadField as error:
        raise Misconfigured(str(error)) from error


def add_to_sweep(shop: Shop, submissions: Sequence[Submission]) -> None:
    """Write down what belongs to the sweep of the first one. Raises what the store raises."""
    _add(shop, f"{_SWEEPS}/{submissions[0].sweep}.json", submissions)


def add_to_project(shop: Shop, submissions: Sequence[Submission]) -> None:
    """Write down what belongs to the project of the first one. Raises what the store raises."""
    _add(shop, f"{_PROJECTS}/{submissions[0].project}.json", submissions)


def of_sweep(shop: Shop, name: str) -> Sequence[Listed]:
    """Return a sweep's experiments in their order; none where nobody knows it."""
    return _listed(shop.read(f"{_SWEEPS}/{sweep_name(name)}.json", lambda stream: stream.read()))


def of_project(shop: Shop, name: str) -> Sequence[Listed]:
    """Return a project's experiments in their order; none where nobody knows it."""
    return _listed(shop.read(f"{_PROJECTS}/{sweep_name(name)}.json", lambda stream: stream.read()))


def of_record(key: str, record: Mapping[str, Any] | None) -> Listed:
    """Return what the record of an experiment that is in no listing tells."""
    found = record or {}
    info, added = found.get("info"), found.get("time_added")
    told = info.get("parameters") if isinstance(info, dict) else None
    parameters = told if isinstance(told, dict) else {}
    return Listed(
        key,
        float(added) if isinstance(added, int | float) else None,
        str(found.get("filename") or ""),
        {str(name): str(value) for name, value in parameters.items()},
    )


def _add(shop: Shop, name: str, submissions: Iterable[Submission]) -> None:
    new = [
        Listed(one.key, one.time_added, one.filename, dict(one.parameters)) for one in submissions
    ]

    def change(before: bytes) -> bytes:
        keys = {one.key for one in new}
        kept = [one for one in _listed(before) if one.key not in keys]
        found = [asdict(one) for one in (*kept, *new)][-_MOST:]
        return json.dumps({"experiments": found}, indent=1).encode() + b"\n"

    shop.amend(name, change)


def _listed(body: bytes | None) -> Sequence[Listed]:
    try:
        found = json.loads(body or b"{}")
        return [_from(one) for one in found.get("experiments", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _from(found: Mapping[str, Any]) -> Listed:
    submitted = found.get("submitted")
    return Listed(
        str(found["key"]),
        None if submitted is None else float(submitted),
        str(found.get("script", "")),
        {str(name): str(value) for name, value in found.get("parameters", {}).items()},
    )
