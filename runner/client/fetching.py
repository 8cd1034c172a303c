"""Artifacts of an experiment out of a store onto this machine, unpacked as runners unpack them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from runner.archives.unpack import Unpacked, unpack
from runner.client.shop import Shop
from runner.errors import BadField, Misconfigured, OutOfDisk, RunnerError, TooLarge
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
    named("KEY", key)
    places = _places(shop.experiment(key), results_only=not labels)
    wanted = tuple(dict.fromkeys(labels or (*LABELS, *places)))
    for label in wanted:
        named("ARTIFACT", label)
    done = []
    for label in wanted:
        place = to / label
        name = places.get(label, f"experiments/{key}/{label}.tar")
        try:
            found = _fetch(shop, name, place, replace=replace)
        except OSError as error:
            why = error.strerror or str(error)
            raise Misconfigured(f"{place} cannot be written: {why}; name another --to") from error
        if found:
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
            if _is_taken(place) and not replace:  # said before gigabytes have come
                raise Misconfigured(f"{place} is there already: name another --to, or --replace")
            try:
                return unpack(stream, into, budget=budget)
            except TooLarge as error:
                raise OutOfDisk(
                    f"{name} is larger than the {budget} bytes that are free at {place.parent}"
                ) from error

        found = shop.read(name, consume)
        if found is None:
            return False
        only = into / place.name
        whole = only if found.single and only.is_file() else into
        _put(whole, place, Path(part) / "old")
    return True


def _put(whole: Path, place: Path, old: Path) -> None:
    """Put what was unpacked into its place; what was there is lost only when that has worked."""
    was_taken = _is_taken(place)
    if was_taken:
        place.rename(old)
    try:
        whole.rename(place)
    except BaseException:
        if was_taken:
            old.rename(place)
        raise


def _is_taken(place: Path) -> bool:
    return place.exists() or place.is_symlink()


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


def named(what: str, name: str) -> None:
    """Refuse what is no plain name. Raises Misconfigured."""
    try:
        component(what, name)
    except BadField as error:
        raise Misconfigured(str(error)) from error
