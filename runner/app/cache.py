"""The artifact cache that the settings describe, and whether runs can have overlays of it."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

from runner import blocking, log
from runner.app.places import Places
from runner.cache import CACHES
from runner.cache.base import Cache
from runner.errors import Misconfigured
from runner.model import Identity
from runner.sandboxes.base import Sandbox
from runner.settings import Settings

_log = log.get_logger(__name__)

_LIMIT = blocking.Limit(1)


async def opened(
    stack: AsyncExitStack, settings: Settings, places: Places, sandbox: Sandbox
) -> Cache | None:
    """Return the cache, open until ``stack`` ends; ``None`` without ``--cache-dir``.

    Raises Misconfigured where hiding the cache from experiments would hide their own directories.
    """
    directory = settings.cache_dir
    if directory is None or settings.cache_size <= 0:
        return None
    for path in (settings.working_dir, places.state):
        if path.resolve().is_relative_to(directory.resolve()):
            raise Misconfigured(
                f"{path} lies inside --cache-dir {directory}, which experiments must not see: "
                "choose another directory for the cache"
            )
    other = places.identity if places.pool else None
    made = await blocking.call(
        lambda _: _attachable(directory, settings, sandbox, other), limit=_LIMIT
    )
    is_other = places.identity is not None and places.identity.uid != os.geteuid()
    is_safe = made or sandbox.protects or is_other
    return await stack.enter_async_context(
        cast(
            "Cache",
            CACHES.load("trees")(
                directory,
                settings.cache_size,
                # What is for many users is nobody's of them: each run is shown it as its own.
                identity=None if places.pool else places.identity,
                watch=not is_safe,
                temporary=settings.cache_create,
            ),
        )
    )


def _attachable(
    directory: Path, settings: Settings, sandbox: Sandbox, identity: Identity | None
) -> bool:
    """Try it with the real directories: it depends on their file systems, too."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False  # the cache will say so itself
    can = sandbox.try_overlays(lower=directory, upper=settings.working_dir, identity=identity)
    if not can:
        _log.info("kept artifacts are copied for each experiment: no overlay can be mounted here")
    return can
