"""The environment builder that the settings describe."""

from __future__ import annotations

import os
from typing import cast

from runner import log
from runner.app.hidden import hidden
from runner.app.places import Places
from runner.environments import ENVIRONMENTS
from runner.environments.base import Environments
from runner.environments.sources import network_variables
from runner.lifecycle.spellings import spellings
from runner.model import Bytes
from runner.settings import Settings

_log = log.get_logger(__name__)


def environments(settings: Settings, places: Places, *, hides: bool = False) -> Environments:
    """Return the builder, not yet opened. Builds run as the user that experiments run as.

    Code of packages does not see what experiments do not see, where the machine ``hides`` anything.
    """
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
            hidden=hidden(settings, places, os.environ) if hides else (),
            # A workspace may bring a distribution of the client's own, which is built there.
            visible=(*spellings(places.environments), *spellings(settings.working_dir)),
            report=_log.info,
        ),
    )
