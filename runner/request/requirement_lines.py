"""One line of ``pythonenv`` or ``config.pip``: a package, an address, a repository, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from runner.errors import BadField
from runner.request.names import visible

_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)(\S+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_REPOSITORY = re.compile(r"(git|hg|svn|bzr)\+(https?|ssh|git)://\S+", re.IGNORECASE)
_ARCHIVE = re.compile(r"https?://\S+", re.IGNORECASE)
_EGG = re.compile(r"[#&]egg=([\w.-]+)")
_WHERE = "a line of experiment.pythonenv or config.pip"
_FORMS = "write a requirement such as numpy==1.26.4, or an address such as git+https://host/repo"


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement as the installer gets it."""

    text: str
    #: Normalised name of the package; empty where only the address is known.
    name: str
    #: ``None`` for a bare address.
    requirement: Requirement | None = None


def read_line(text: str, warn: Callable[[str], None]) -> Line | None:
    """Check one line; ``None`` for a comment. Raises BadField with the line.

    Nothing that the installer would take for an option or for a file of this machine gets through.
    """
    line = _COMMENT.sub("", visible(_WHERE, text)).strip()
    if not line:
        return None
    if line.startswith("-"):
        return _editable(line)
    if _REPOSITORY.fullmatch(line) or _ARCHIVE.fullmatch(line):
        return Line(line, _egg(line))
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        raise BadField(_WHERE, text, _FORMS) from None
    if requirement.url is not None:
        return _at_address(line, requirement, warn)
    return Line(line, canonicalize_name(requirement.name), requirement)


def _editable(line: str) -> Line:
    match = _EDITABLE.fullmatch(line)
    if match is None:
        remedy = "installer options are the operator's; write requirements only"
        raise BadField(_WHERE, line, remedy)
    if _REPOSITORY.fullmatch(match[1]) is None:
        remedy = "only a repository can be editable, such as -e git+https://host/repo#egg=name"
        raise BadField(_WHERE, line, remedy)
    return Line(f"-e {match[1]}", _egg(match[1]))


def _at_address(line: str, requirement: Requirement, warn: Callable[[str], None]) -> Line | None:
    """Keep ``name @ https://…``; a file of the submitter's machine becomes the bare package."""
    address = requirement.url or ""
    name = canonicalize_name(requirement.name)
    if _REPOSITORY.fullmatch(address) or _ARCHIVE.fullmatch(address):
        return Line(line, name, requirement)
    if not address.lower().startswith("file:"):
        raise BadField(_WHERE, line, _FORMS)
    version = _version_of(address)
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    text = requirement.name + extras + (f"=={version}" if version else "")
    if requirement.marker is not None:
        text += f" ; {requirement.marker}"
    warn(f"{line} is a file of the submitter's machine; {text} is installed from the index")
    return Line(text, name, Requirement(text))


def _version_of(address: str) -> str | None:
    filename = unquote(urlsplit(address).path).rpartition("/")[2]
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _egg(address: str) -> str:
    match = _EGG.search(address)
    return canonicalize_name(match[1]) if match else ""
