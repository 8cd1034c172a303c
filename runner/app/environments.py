"""The environment builder that the settings describe."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from runner import log
from runner.app.builds import held_builds
from runner.app.disk import watched_builds
from runner.app.hidden import hidden
from runner.app.places import Places
from runner.environments import ENVIRONMENTS
from runner.environments.base import Environments
from runner.environments.bounded import unheld, unwatched
from runner.environments.sources import network_variables
from runner.lifecycle.disk.watch import DiskWatch
from runner.lifecycle.runs.spellings import spellings
from runner.model import Bytes
from runner.sandboxes.base import UNBOUNDED, Bounds, Command, Sandbox
from runner.settings import Settings

_log = log.get_logger(__name__)


def environments(
    settings: Settings,
    places: Places,
    sandbox: Sandbox,
    eye: DiskWatch | None = None,
    bounds: Bounds = UNBOUNDED,
) -> Environments:
    """Return the builder, not yet opened. Builds run as the user that experiments run as.

    Code of packages does not see what experiments do not see, where the ``sandbox`` hides anything,
    and it runs behind the same walls.
    """
    secret = hidden(settings, places, os.environ) if sandbox.hides else ()
    base = settings.base_environment
    # A workspace may bring a distribution of the client's own, which is built there.
    visible = spellings(settings.working_dir)
    # Addresses among them are no paths, and no trouble.
    links = (Path(link) for link in settings.find_links if link.startswith("/"))
    # The installer and its interpreter are ours, wherever we were installed.
    ours = [
        path
        for path in (Path(sys.prefix), Path(sys.base_prefix))
        if any(path.is_relative_to(place) for place in sandbox.private)
    ]
    tools = (places.environments, *ours, *links, *([base] if base else ()))

    def walls(writable: Sequence[Path]) -> Sequence[str]:
        return sandbox.launch(
            Command(
                *((), Path("/"), {}),
                writable=tuple(name for path in writable for name in spellings(path)),
                visible=visible,
                tools=tuple(name for path in tools for name in spellings(path) if path.is_dir()),
                hidden=secret,
            )
        ).walls

    return cast(
        "Environments",
        ENVIRONMENTS.load("uv")(
            places.environments,
            limit=settings.environment_cache_size,
            default_python=settings.default_python or None,
            resolve_ttl=settings.resolve_ttl,
            index_url=settings.index_url or None,
            extra_index_urls=settings.extra_index_url,
            find_links=settings.find_links,
            no_index=settings.no_index,
            torch_backend=settings.torch_backend,
            allow_downloads=settings.allow_python_downloads,
            base_environment=settings.base_environment,
            build_identity=places.identity,
            run_identity=places.identity,
            uv_cache_limit=Bytes(settings.environment_cache_size // 2),
            extra_variables=network_variables(os.environ),
            hidden=secret,
            visible=(*spellings(places.environments), *visible),
            kept_out=sandbox.protects,
            walls=walls,
            watched=unwatched if eye is None else watched_builds(settings, eye),
            held=held_builds(bounds) if bounds.enforce else unheld,
            report=_log.info,
        ),
    )
