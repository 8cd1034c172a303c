"""Options about container images."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from runner.model import Bytes
from runner.settings import kinds
from runner.settings.option import group, option


@group
class ContainerOptions:
    """Which images experiments run in, who may be trusted with them, what is kept."""

    GROUP: ClassVar = "Container images"

    container: str = option(
        kinds.TEXT,
        "",
        "image of experiments that name none: a path, docker://, library:// or oras://; "
        "empty means that they run without one",
    )
    trusted_images: tuple[str, ...] = option(
        kinds.TEXT,
        "shub://sentient-singularity/*,dockerhub://tensorflow/*",
        "images that messages may name (patterns such as docker://nvcr.io/nvidia/*, /srv/images/*, "
        "s3://HOST/BUCKET/*); a definition file needs a pattern that ends in .def",
        repeatable=True,
    )
    image_cache_size: Bytes = option(
        kinds.SIZE,
        "20gib",
        "images of registries are kept below this size, unused ones go first; no image in a store "
        "may be larger",
    )
    image_ttl: timedelta = option(
        kinds.DURATION, "24h", "how long a tag stands for the image that it stood for before"
    )
    image_time: timedelta = option(
        kinds.PERIOD, "1h", "pulling or building an image that takes longer is ended"
    )
