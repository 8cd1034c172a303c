"""The environment builder that the settings describe."""

from __future__ import annotations

import os
from typing import cast

from runner import log
from runner.app.places import Places
from runner.environments import ENVIRONMENTS
from runner.environments.base import Environments
from runner.environments.sources import network_variables
from runner.model import Bytes
from runner.settings import Settings

_log = log.get_logger(__name__)


def environments(settings: Settings, places: Places) -> Environments:
    """Return the builder, not yet opened. Builds run as the user that experiments run as."""
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
            report=_log.info,
        ),
    )
