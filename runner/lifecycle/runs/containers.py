"""What is there to run experiments in container images, and which image one of them wants."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

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
class Containers:
    """The operator's rules for images, and what this machine has for them."""

    #: ``None``: no experiment can run in an image here, and
    shop: Shop | None = None
    #: that is why.
    why_none: str = "this runner was not set up for container images"
    trust: Trust = field(default_factory=Trust)
    #: Of experiments that name none; ``None``: they run without.
    default: Reference | None = None

    def obstacle(self, request: Request) -> str:
        """Say why a request that is to run in an image cannot run here; empty where it can.

        It is never run without its image.
        """
        if self.shop is not None or (IMAGE not in request.artifacts and self.default is None):
            return ""
        return f"the experiment is to run in a container image: {self.why_none}"

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
