"""What the settings say about container images, and what there is on this machine for them."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path

from runner import blocking, log
from runner.app.errands import RunErrands
from runner.app.hidden import hidden
from runner.app.places import Places
from runner.app.sandbox import container_sandbox, load_container_sandbox
from runner.errors import Misconfigured
from runner.images import apptainer
from runner.images.base import Images
from runner.images.interior import Interiors
from runner.images.pulled import PulledImages
from runner.images.reference import Kind, NotAnImage, Reference, of_text
from runner.images.trust import Trust, is_possible
from runner.lifecycle.runs.containers import Closed, Containers, Shop
from runner.sandboxes.base import UNBOUNDED, Bounds, Sandbox
from runner.sandboxes.plain import PlainSandbox
from runner.settings import Settings

_log = log.get_logger(__name__)

_LIMIT = blocking.Limit(1)


async def containers(
    stack: AsyncExitStack,
    settings: Settings,
    places: Places,
    sandbox: Sandbox,
    bounds: Bounds = UNBOUNDED,
) -> tuple[Containers, Images | None]:
    """Return the rules for images and what starts them, and the images that are kept here.

    ``sandbox`` is that of experiments without an image; ``bounds`` are those of builds. A container
    is started to see whether that works, now where the operator wants all experiments in images,
    else when the first one comes that has one. Raises Misconfigured for an option that cannot be,
    and where the operator wants images and none can be started.
    """
    default = default_image(settings)
    trust = await blocking.call(lambda _: trusted(settings), limit=_LIMIT)
    shop = await _furnished(stack, settings, places, sandbox, bounds)
    local = default.path if default and default.kind is Kind.LOCAL else None

    async def try_one() -> Shop | Closed:
        try:
            choice = await container_sandbox(settings, places, local)
        except Misconfigured as error:
            if default is not None:
                raise
            _log.warning(f"experiments with a container image are left to others: {error}")
            return Closed(str(error))
        _log.info(choice.why, default=default.text if default else "none")
        return shop or Closed("it was installed after this daemon was started: reload it")

    found = Containers(trust, default, try_one)
    if default is not None:
        await found.shop()
    return found, shop.images if shop else None


async def _furnished(
    stack: AsyncExitStack, settings: Settings, places: Places, sandbox: Sandbox, bounds: Bounds
) -> Shop | None:
    """Return what works with images where there is the program for it; nothing is started."""
    tool = apptainer.program()
    if tool is None:
        return None
    inside = load_container_sandbox()
    inside.overlays = sandbox.overlays  # both have the supervisor mount them
    errands = RunErrands(
        places.errands,
        PlainSandbox(),
        inside,
        places.identity,
        hidden(settings, places, os.environ),
        bounds,
    )
    await blocking.call(lambda _: errands.open(), limit=_LIMIT)
    images = await stack.enter_async_context(
        PulledImages(
            places.images,
            errands,
            tool=tool,
            limit=settings.image_cache_size,
            ttl=settings.image_ttl,
            patience=settings.image_time,
            identity=places.identity,
            variables=os.environ,
            report=_log.info,
        )
    )
    interiors = Interiors(places.images / "interiors", errands)
    return Shop(inside, images, interiors, errands, settings.image_cache_size)


def default_image(settings: Settings) -> Reference | None:
    """Return what ``--container`` names. Raises Misconfigured."""
    if not settings.container.strip():
        return None
    try:
        found = of_text(settings.container)
    except NotAnImage as error:
        raise Misconfigured(f"--container is {settings.container!r}: {error}") from error
    if found.kind is Kind.LOCAL and not found.path.exists():
        raise Misconfigured(f"--container is {settings.container!r}: there is nothing; name a file")
    return found


def trusted(settings: Settings) -> Trust:
    """Return the operator's patterns; directories also as they are without links. Blocks.

    Raises Misconfigured for a pattern that can stand for nothing.
    """
    patterns = []
    for pattern in settings.trusted_images:
        if not pattern:
            continue
        if not is_possible(pattern):
            raise Misconfigured(
                f"--trusted-images is {pattern!r}: write an address such as docker://python:* or "
                "an absolute path such as /srv/images/*"
            )
        patterns += [pattern, *_real(pattern)]
    return Trust(tuple(dict.fromkeys(patterns)))


def _real(pattern: str) -> list[str]:
    """Return a pattern of files with the links of its fixed beginning followed."""
    text = pattern.removeprefix("file://")
    if not text.startswith("/"):
        return []
    fixed = Path("/")
    rest = [part for part in text.split("/") if part]
    while len(rest) > 1 and "*" not in rest[0]:
        fixed /= rest.pop(0)
    return ["/".join((os.path.realpath(fixed), *rest))]
