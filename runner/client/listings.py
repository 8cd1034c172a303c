"""Which experiments a sweep or a project has: one object for each, beside the artifacts.

Stores are asked for objects by name alone, so what belongs together is written down when it is
submitted::

    {"experiments": [{"key": …, "submitted": …, "script": …, "parameters": {"lr": "0.1"}}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from runner.client.grid import LARGEST
from runner.client.message import Submission
from runner.client.shop import Shop
from runner.client.standing import moment
from runner.errors import BadField, Misconfigured, RunnerError
from runner.request.names import component, relative
from runner.stores.base import AccessDenied

_SWEEPS, _PROJECTS = "listings/sweeps", "listings/projects"


class Taken(RunnerError):
    """Somebody else has submitted experiments of these names meanwhile."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One experiment as it was submitted."""

    key: str
    #: Seconds since the epoch; ``None``: not known.
    submitted: float | None = None
    script: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def sweep_name(name: str, given: str = "--sweep") -> str:
    """Return the name where it can be one of an object. Raises Misconfigured, naming ``given``."""
    try:
        return component(given, name)
    except BadField as error:
        raise Misconfigured(str(error)) from error


def project_name(name: str) -> str:
    """Return the name where it can be one of an object, slashes in it. Raises Misconfigured."""
    try:
        return relative("--project", name)
    except BadField as error:
        raise Misconfigured(str(error)) from error


def of_submission(one: Submission) -> Listed:
    """Return what a listing says of a submission."""
    return Listed(one.key, one.time_added, one.filename, dict(one.parameters))


def add_to_sweep(shop: Shop, submissions: Sequence[Submission], *, are_new: bool = False) -> None:
    """Write down what belongs to the sweep of the first one. Raises what the store raises.

    Raises Taken where keys that ``are_new`` are somebody else's by now, and Misconfigured for a
    sweep that would become too large.
    """
    new = [of_submission(one) for one in submissions]
    name = submissions[0].sweep

    def change(known: Sequence[Listed]) -> Sequence[Listed]:
        theirs = {one.key for one in known} & {one.key for one in new}
        if are_new and theirs:
            raise Taken
        found = _with(known, new)
        if len(found) > LARGEST:
            raise Misconfigured(
                f"the sweep {name!r} would have {len(found)} experiments, more than {LARGEST}: "
                "begin another one"
            )
        return found

    _amend(shop, f"{_SWEEPS}/{name}.json", change)


def add_to_project(shop: Shop, submissions: Sequence[Submission]) -> None:
    """Write down what belongs to the project of the first one. Raises what the store raises.

    A project grows for ever: the newest are kept.
    """
    new = [of_submission(one) for one in submissions]
    _amend(shop, _project(submissions[0].project), lambda known: _with(known, new)[-LARGEST:])


def withdraw(shop: Shop, submissions: Sequence[Submission]) -> None:
    """Take those off the listings that were never queued. Raises what the store raises."""
    if not submissions:
        return
    gone = {(one.key, one.time_added) for one in submissions}

    def change(known: Sequence[Listed]) -> Sequence[Listed]:
        return [one for one in known if (one.key, one.submitted) not in gone]

    if submissions[0].sweep:
        _amend(shop, f"{_SWEEPS}/{submissions[0].sweep}.json", change)
    if submissions[0].project:
        with suppress(AccessDenied):
            _amend(shop, _project(submissions[0].project), change)


def of_sweep(shop: Shop, name: str, given: str = "--sweep") -> Sequence[Listed]:
    """Return a sweep's experiments in their order; none where nobody knows it."""
    return _read(shop, f"{_SWEEPS}/{sweep_name(name, given)}.json")


def of_project(shop: Shop, name: str) -> Sequence[Listed]:
    """Return a project's experiments in their order; none where nobody knows it."""
    return _read(shop, _project(project_name(name)))


def of_record(key: str, record: Mapping[str, Any] | None) -> Listed:
    """Return what the record of an experiment that is in no listing tells."""
    found = record or {}
    info = found.get("info")
    told = info.get("parameters") if isinstance(info, dict) else None
    parameters = told if isinstance(told, dict) else {}
    return Listed(
        key,
        moment(found.get("time_added")),
        str(found.get("filename") or ""),
        {str(name): str(value) for name, value in parameters.items()},
    )


def _project(name: str | None) -> str:
    return f"{_PROJECTS}/{name}.json"


def _with(known: Sequence[Listed], new: Sequence[Listed]) -> Sequence[Listed]:
    keys = {one.key for one in new}
    return [*(one for one in known if one.key not in keys), *new]


def _amend(shop: Shop, name: str, change: Callable[[Sequence[Listed]], Sequence[Listed]]) -> None:
    def rewritten(before: bytes) -> bytes:
        known = _listed(before)
        if known is None:
            raise RunnerError(f"{name} in {shop} is no listing of experiments: remove the object")
        found = [asdict(one) for one in change(known)]
        return json.dumps({"experiments": found}, indent=1).encode() + b"\n"

    shop.amend(name, rewritten)


def _read(shop: Shop, name: str) -> Sequence[Listed]:
    return _listed(shop.read(name, lambda stream: stream.read())) or []


def _listed(body: bytes | None) -> Sequence[Listed] | None:
    """Read a listing; ``None`` for what is none. Entries that cannot be are passed over."""
    try:
        entries = json.loads(body or b'{"experiments": []}')["experiments"]
        found = [_entry(one) for one in entries]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return [one for one in found if one is not None]


def _entry(found: object) -> Listed | None:
    """Read an entry, which whoever may write to the store has written."""
    if not isinstance(found, dict) or not isinstance(found.get("key"), str):
        return None
    parameters = found.get("parameters")
    try:
        key = component("key", found["key"])
        key.encode()
    except (BadField, UnicodeEncodeError):
        return None
    return Listed(
        key,
        moment(found.get("submitted")),
        str(found.get("script", "")),
        {str(name): str(value) for name, value in parameters.items()}
        if isinstance(parameters, dict)
        else {},
    )
