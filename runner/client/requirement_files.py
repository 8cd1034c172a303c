"""Which requirements a submission takes along: from files, the project, or what is installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from runner.errors import BadField, Misconfigured
from runner.request.requirement_lines import read_line

#: What no experiment imports.
_TOOLS = frozenset({"pip", "setuptools", "wheel", "uv", "distribute"})
_OURSELVES = canonicalize_name("studio-runner")
_HASHES = re.compile(r"\s+--hash[= ]\S+")
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Found:
    """Requirement lines, and in words where they are from."""

    lines: tuple[str, ...]
    origin: str
    #: What could not be taken along, one sentence each.
    notes: tuple[str, ...] = ()


def find(
    files: Sequence[str], directory: Path, environ: Mapping[str, str], *, has_image: bool = False
) -> Found:
    """Return the requirements: of ``files``, else of the project, else of the environment.

    With a container image it is the image that stands for the environment.
    Raises Misconfigured for a file that cannot be read or a line that a runner would refuse.
    """
    if files:
        named = [files] if isinstance(files, str) else files
        return _from_files([Path(file) for file in named])
    if (directory / "requirements.txt").is_file():
        return _from_files([directory / "requirements.txt"])
    project = _from_project(directory / "pyproject.toml")
    if has_image:
        return project or Found((), "nowhere: the container image has what it has")
    return project or _from_environment(environ)


def _from_files(files: Sequence[Path]) -> Found:
    lines = [line for file in files for line in _lines(file, 0)]
    return Found(tuple(lines), ", ".join(map(str, files)))


def _lines(file: Path, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise Misconfigured(f"{file} is included by itself")
    for line in _logical_lines(file):
        nested = re.fullmatch(r"(?:-r|--requirement)[= ]\s*(\S+)", line)
        if nested:
            yield from _lines(file.parent / nested[1], depth + 1)
        elif line:
            _check(file, line)
            yield line


def _logical_lines(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise Misconfigured(f"the requirements file {file} cannot be read: {why}") from error
    for line in text.replace("\\\n", " ").splitlines():
        yield _HASHES.sub("", re.sub(r"(^|\s)#.*$", "", line)).strip()


def _check(where: Path, line: str) -> None:
    try:
        read_line(line, lambda _: None)
    except BadField as error:
        raise Misconfigured(f"{where}: {line!r} cannot be submitted: {error}") from error


def _from_project(file: Path) -> Found | None:
    if not file.is_file():
        return None
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from error
    lines = project.get("dependencies") if isinstance(project, dict) else None
    if not isinstance(lines, list):
        return None
    for line in lines:
        _check(file, str(line))
    return Found(tuple(map(str, lines)), str(file))


def _from_environment(environ: Mapping[str, str]) -> Found:
    path, origin = _environment(environ)
    found = importlib.metadata.distributions(path=path)
    installed = {
        canonicalize_name(package.name): package for package in found if package.metadata["Name"]
    }
    lines, notes = [], []
    for name in installed.keys() - _TOOLS - _brought_along(installed):
        package = installed[name]
        line, note = _pin(package.name, package.version, package.read_text("direct_url.json"))
        lines.append(line)
        notes.append(note)
    kept = tuple(sorted({line for line in lines if line}, key=str.lower))
    return Found(kept, origin, tuple(sorted(note for note in notes if note)))


def _brought_along(
    installed: Mapping[NormalizedName, importlib.metadata.Distribution],
) -> set[str]:
    """Return the packages that are there for the runner's own sake: no experiment asked for them.

    One that needs such a package names it, as it is not sure to be where the experiment runs.
    """
    runner = installed.get(_OURSELVES)
    extras = runner.metadata.get_all("Provides-Extra") or [] if runner else []
    left = [(_OURSELVES, extra) for extra in ("", *extras)]
    seen: set[tuple[NormalizedName, str]] = set()
    while left:
        name, extra = left.pop()
        if name in installed and (name, extra) not in seen:
            seen.add((name, extra))
            for wanted in map(Requirement, installed[name].requires or ()):
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    left += [(canonicalize_name(wanted.name), one) for one in ("", *wanted.extras)]
    return {str(name) for name, _ in seen}


def _environment(environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return where packages are: the activated environment's, else the runner's own."""
    active = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    if active and Path(active).resolve() != Path(sys.prefix).resolve():
        places = sorted(Path(active).glob("lib/python*/site-packages"))
        return [str(place) for place in places], f"the packages of {active}"
    return sys.path, f"the packages of {sys.prefix}"


def _pin(name: str, version: str, direct: str | None) -> tuple[str, str]:
    """Return the line, or why there is none."""
    if direct is None:
        return f"{name}=={version}", ""
    try:
        source: dict[str, Any] = json.loads(direct)
        address, vcs = str(source["url"]), source.get("vcs_info")
    except (ValueError, KeyError, TypeError):
        return f"{name}=={version}", ""
    if vcs:
        return f"{name} @ {vcs['vcs']}+{address}@{vcs['commit_id']}", ""
    if address.startswith("file:"):
        return "", f"{name} is installed from a directory of this machine and is left out"
    return f"{name} @ {address}", ""
