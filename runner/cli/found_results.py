"""Finding the experiments that ``results`` and ``plot`` are about, in whichever store they are."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from runner.cli import stores
from runner.client import listings
from runner.client.listings import Listed
from runner.client.results import Reader, Result
from runner.client.shop import LocalShop, Shop
from runner.errors import Misconfigured, RunnerError
from runner.settings import Settings
from runner.settings.parser import Parser

#: The settings that are read here.
SETTINGS = ("state_dir", *stores.SETTINGS)
_FOLDER = "studioml-meta/projects"
_SWEEPS = "storage/listings/sweeps"
#: Sweeps that are named to who has forgotten theirs.
_NAMED = 5


def add_which(parser: Parser) -> None:
    """Add the arguments that say which experiments."""
    parser.add_argument("names", metavar="SWEEP|KEY", nargs="*", help="sweeps, or experiments")
    parser.add_argument("--project", metavar="P", help="every experiment of a project")
    stores.add_options(parser, "every --local-store-root")


class Found:
    """Experiments of one or several stores; ``results`` tells how they stand each time anew."""

    def __init__(self, settings: Settings, chosen: Namespace, shops: Sequence[Shop]) -> None:
        """Raises Misconfigured where nothing is named, RunnerError for what nobody knows."""
        if not chosen.names and not chosen.project:
            raise Misconfigured(
                f"say which: a sweep, keys of experiments, or --project P{_latest(shops)}"
            )
        self._readers = [Reader(shop, settings.state_dir) for shop in shops]
        self._listed: dict[str, tuple[Reader, Listed]] = {}
        #: What is over stays as it is.
        self._ended: dict[str, Result] = {}
        for name in chosen.names:
            self._add(name)
        if chosen.project:
            self._add_project(chosen.project)

    def results(self) -> Sequence[Result]:
        """Return how they stand now, in the order in which they were submitted."""
        found: dict[str, Result] = {}
        for reader in self._readers:
            own = [
                listed
                for one, listed in self._listed.values()
                if one is reader and listed.key not in self._ended
            ]
            found |= {result.key: result for result in reader.results(own)} if own else {}
        self._ended |= {key: result for key, result in found.items() if result.ended}
        found |= self._ended
        return [found[key] for key in self._listed]

    @property
    def look_every(self) -> float:
        """Seconds between two looks at their stores."""
        return max((reader.shop.look_every for reader, _ in self._listed.values()), default=0.0)

    def _add(self, name: str) -> None:
        for reader in self._readers:
            if listed := reader.known(name):
                self._keep(reader, listed)
                return
        raise RunnerError(
            f"there is no sweep and no experiment {name!r} in {self._searched()}: name its store "
            "with --store"
        )

    def _add_project(self, project: str) -> None:
        before = len(self._listed)
        for reader in self._readers:
            self._keep(reader, listings.of_project(reader.shop, project))
            self._keep(reader, _in_database(reader.shop, listings.project_name(project)))
        if len(self._listed) == before:
            raise RunnerError(
                f"there is no experiment of project {project!r} in {self._searched()}"
            )

    def _keep(self, reader: Reader, listed: Sequence[Listed]) -> None:
        for one in listed:
            self._listed.setdefault(one.key, (reader, one))

    def _searched(self) -> str:
        return ", ".join(str(reader.shop) for reader in self._readers) or "no store"


def _latest(shops: Sequence[Shop]) -> str:
    """Name the sweeps that were submitted last, where that can be listed."""
    places = [Path(f"{shop.root}/{_SWEEPS}") for shop in shops if isinstance(shop, LocalShop)]
    found = [one for place in places if place.is_dir() for one in place.glob("[!.]*.json")]
    found.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    names = ", ".join(one.stem for one in found[:_NAMED])
    return f"; the latest sweeps are {names}" if names else ""


def _in_database(shop: Shop, project: str) -> Sequence[Listed]:
    """Return what the StudioML client noted of a project, where that can be listed."""
    if not isinstance(shop, LocalShop):
        return []
    place = Path(f"{shop.root}/{_FOLDER}/{project}")
    keys = sorted(one.name for one in place.iterdir()) if place.is_dir() else []
    found = [listings.of_record(key, shop.experiment(key)) for key in keys]
    return sorted(found, key=lambda one: one.submitted or 0)
