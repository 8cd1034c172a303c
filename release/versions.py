"""Which version may come next."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import Version

_FORM = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}((a|b|rc)[1-9]\d*)?")


class Refused(Exception):
    """The release cannot be made; the message says why, and what to do."""


def next_version(wanted: str, *, current: str, released: Iterable[str]) -> Version:
    """Return the wanted version. Raises Refused unless it is newer than all that is out.

    The current one may be wanted as long as it was never released: the first release is so.
    """
    if not _FORM.fullmatch(wanted):
        raise Refused(f"VERSION={wanted!r} is no version: write 1.2.3, or 1.2.3rc1 before it")
    version = Version(wanted)
    newest = max(map(Version, released), default=None)
    if newest is not None and version <= newest:
        raise Refused(f"{version} is not newer than {newest}, which was released already")
    if version < Version(current):
        raise Refused(f"{version} is older than {current}, which runner/__init__.py says")
    return version


def of_tags(tags: Iterable[str]) -> list[str]:
    """Return the versions among a repository's tags: ``v1.2.3``."""
    return [tag[1:] for tag in tags if tag.startswith("v") and _FORM.fullmatch(tag[1:])]
