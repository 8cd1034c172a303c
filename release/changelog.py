"""The changelog: what was released, what waits to be, and the move from one to the other."""

from __future__ import annotations

import re
from datetime import date

from release.versions import Refused

_UNRELEASED = "## [Unreleased]"
_HEADING = re.compile(r"^## \[(?P<version>\d[^\]]*)\]", re.MULTILINE)
_NEXT = re.compile(r"^## |^\[", re.MULTILINE)


def released(text: str) -> list[str]:
    """Return the versions that have a section."""
    return [found["version"] for found in _HEADING.finditer(text)]


def notes(text: str) -> str:
    """Return what stands below *Unreleased*. Raises Refused where there is nothing to say."""
    before, heading, rest = text.partition(f"{_UNRELEASED}\n")
    if not heading or _UNRELEASED in before + rest:
        raise Refused(f"CHANGELOG.md must have one line {_UNRELEASED!r}")
    end = _NEXT.search(rest)
    found = rest[: end.start() if end else None].strip()
    if not re.search(r"^[-*] ", found, re.MULTILINE):
        raise Refused(f"CHANGELOG.md lists nothing below {_UNRELEASED!r}: say what is new")
    return found


def moved(text: str, version: str, day: date) -> str:
    """Return the changelog with what waited under the version's heading."""
    notes(text)
    return text.replace(f"{_UNRELEASED}\n", f"{_UNRELEASED}\n\n## [{version}] - {day:%Y-%m-%d}\n")
