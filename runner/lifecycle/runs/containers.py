"""What is there to run experiments in container images, and which image one of them wants."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from runner import blocking
from runner.errors import BadField
from runner.images.base import Errands, Images
from runner.images.interior import Interiors
from runner.images.reference import Kind, NotAnImage, Reference, of_location
from runner.images.trust import Trust
from runner.lifecycle.artifacts.forms import IMAGE
from runner.model import Bytes, Request
from runner.sandboxes.base import Sandbox

FIELD = f"experiment.artifacts.{IMAGE}.qualified"
_LIMIT = blocking.Limit(2)
#: Seconds after which a machine may have been mended.
_BELIEVED = 300.0


@dataclass(frozen=True, slots=True)
class Shop:
    """What gets images and starts programs in them."""

    sandbox: Sandbox
    images: Images
    interiors: Interiors
    errands: Errands
    #: Of an image in an object store at most.
    largest: Bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """No experiment can run in an image here, at least for now."""

    why: str = "this runner was not set up for container images"


async def _never_set_up() -> Shop | Closed:
    return Closed()


@dataclass(eq=False)
class Containers:
    """The operator's rules for images, and what this machine has for them."""

    trust: Trust = field(default_factory=Trust)
    #: Of experiments that name none; ``None``: they run without.
    default: Reference | None = None
    #: Starts a container to see. That takes longer than all else before the first claim, so it is
    #: asked by the first experiment with an image; a no is believed for a while.
    try_one: Callable[[], Awaitable[Shop | Closed]] = _never_set_up
    _answer: Shop | Closed | None = None
    _asked: float = 0.0
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def shop(self) -> Shop | Closed:
        """Return what gets images and starts programs in them, or why nothing does."""
        async with self._asking:
            is_old = anyio.current_time() - self._asked > _BELIEVED
            if self._answer is None or (isinstance(self._answer, Closed) and is_old):
                self._answer = await self.try_one()
                self._asked = anyio.current_time()
            return self._answer

    async def obstacle(self, request: Request) -> str:
        """Say why a request that is to run in an image cannot run here; empty where it can.

        It is never run without its image.
        """
        if IMAGE not in request.artifacts and self.default is None:
            return ""
        shop = await self.shop()
        if isinstance(shop, Shop):
            return ""
        return f"the experiment is to run in a container image: {shop.why}"

    async def wanted(self, request: Request) -> Reference | None:
        """Return the image, which is trusted; ``None`` for none.

        What the operator chose for all is not asked about. Raises BadField, naming the field, the
        image, and the option that would trust it.
        """
        artifact = request.artifacts.get(IMAGE)
        if artifact is None:
            return self.default
        try:
            reference = of_location(artifact.location)
        except NotAnImage as error:
            raise BadField(FIELD, str(artifact.location), str(error)) from error
        real = ""
        if reference.kind is Kind.LOCAL:
            real = await blocking.call(lambda _: os.path.realpath(reference.path), limit=_LIMIT)
        if not self.trust.allows(reference, real):
            raise BadField(FIELD, reference.text, self.trust.refusal(reference))
        return reference
