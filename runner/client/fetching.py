"""Artifacts of an experiment out of a store onto this machine, unpacked as runners unpack them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from runner.archives.unpack import Unpacked, unpack
from runner.client.shop import Shop
from runner.errors import BadField, Misconfigured, RunnerError
from runner.model import Bytes
from runner.request.names import component

#: What every experiment may leave.
LABELS = ("modeldir", "output", "retval", "tb", "_metrics")


def fetch(
    shop: Shop, key: str, labels: Sequence[str], to: Path, *, replace: bool = False
) -> Sequence[Path]:
    """Unpack artifacts into ``to``, each under its label, and return their places.

    Without ``labels``, every one that was stored. A label's place is a directory, or a file where
    the artifact is one file of that name, such as ``output``. An artifact appears whole or not at
    all. Raises Misconfigured where a place is taken, unless it is to be replaced; RunnerError
    where something is not there, is no archive, or leads out of its directory.
    """
    _named("KEY", key)
    places = _places(shop.experiment(key), results_only=not labels)
    wanted = tuple(labels) or tuple(dict.fromkeys((*LABELS, *places)))
    done = []
    for label in wanted:
        _named("ARTIFACT", label)
        place = to / label
        name = places.get(label, f"experiments/{key}/{label}.tar")
        if _fetch(shop, name, place, replace=replace):
            done.append(place)
        elif labels:
            raise RunnerError(f"the experiment {key!r} has no artifact {label!r} in {shop}")
    if not done:
        raise RunnerError(f"nothing of the experiment {key!r} is stored in {shop}")
    return done


def _fetch(shop: Shop, name: str, place: Path, *, replace: bool) -> bool:
    """Unpack one object beside its place and put it there; ``False`` where there is none."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as part:
        into = Path(part) / "unpacked"
        into.mkdir()
        budget = Bytes(shutil.disk_usage(part).free)

        def consume(stream: BinaryIO) -> Unpacked:
            return unpack(stream, into, budget=budget)

        found = shop.read(name, consume)
        if found is None:
            return False
        only = into / place.name
        whole = only if found.single and only.is_file() else into
        if place.exists() or place.is_symlink():
            if not replace:
                raise Misconfigured(f"{place} is there already: name another --to, or --replace")
            place.rename(Path(part) / "old")
        whole.rename(place)
    return True


def _places(record: dict[str, Any] | None, *, results_only: bool) -> dict[str, str]:
    """Return where the artifacts lie that a record tells of, by label."""
    artifacts = (record or {}).get("artifacts")
    found = cast("dict[str, Any]", artifacts) if isinstance(artifacts, dict) else {}
    return {
        label: one["key"]
        for label, one in found.items()
        if isinstance(one, dict) and isinstance(one.get("key"), str)
        if one.get("mutable") or not results_only
    }


def _named(what: str, name: str) -> None:
    try:
        component(what, name)
    except BadField as error:
        raise Misconfigured(str(error)) from error
