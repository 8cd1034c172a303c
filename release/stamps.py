"""The places in the repository that name the version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from release import changelog
from release.versions import Refused

_ANY = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"


@dataclass(frozen=True, slots=True)
class Stamp:
    """One file's way to name the version: the group ``version`` of a pattern."""

    file: str
    pattern: re.Pattern[str]
    #: The file must name it exactly once; else as often as it likes.
    once: bool = True

    def put(self, text: str, version: str) -> str:
        """Return the text with the new version. Raises Refused where it is not found."""
        found = list(self.pattern.finditer(text))
        if self.once and len(found) != 1:
            raise Refused(
                f"{self.file} must name the version once, in a line like "
                f"{self.pattern.pattern!r}; found: {len(found)}"
            )
        for match in reversed(found):
            start, end = match.span("version")
            text = text[:start] + version + text[end:]
        return text


MODULE = Stamp("runner/__init__.py", re.compile(r'^__version__ = "(?P<version>.*)"$', re.MULTILINE))
_NAMED = re.compile(rf"(?:studio[-_]runner[-:]|VERSION_TAG=)(?P<version>{_ANY})(?![.\d])")
_DOCUMENTS = ("README.md", "docs/docker.md", "docs/kubernetes.md")
STAMPS: Sequence[Stamp] = (
    MODULE,
    Stamp(
        "deploy/k8s/base/kustomization.yaml",
        re.compile(rf'^\s*newTag: "?(?P<version>{_ANY})"?$', re.MULTILINE),
    ),
    *(Stamp(name, _NAMED, once=False) for name in _DOCUMENTS),
)
CHANGELOG = "CHANGELOG.md"


def current(root: Path) -> str:
    """Return the version that the package has."""
    found = MODULE.pattern.search((root / MODULE.file).read_text(encoding="utf-8"))
    if found is None:
        raise Refused(f"{MODULE.file} names no version")
    return found["version"]


def stamp(root: Path, version: str, day: date) -> None:
    """Write the version everywhere below ``root``. Raises Refused, having written nothing."""
    texts = {name: _read(root / name) for name in (CHANGELOG, *(one.file for one in STAMPS))}
    texts[CHANGELOG] = changelog.moved(texts[CHANGELOG], version, day)
    for one in STAMPS:
        texts[one.file] = one.put(texts[one.file], version)
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Refused(f"{file} is not there, and should name the version") from error
