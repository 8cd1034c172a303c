"""What the installer gets: the request's requirement lines after the rules of protocol 7.5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runner.model import Request
from runner.request.requirement_lines import Line, read_line

STUDIOML = "studioml"
#: A package that Debian's pip lists and no index has.
_PHANTOMS = frozenset({"pkg-resources"})
_ARCHIVE = re.compile(rf"{STUDIOML}-.*\.tar\.gz", re.DOTALL)
_TENSORFLOW, _TENSORFLOW_GPU = "tensorflow", "tensorflow-gpu"
#: From this version on the package ``tensorflow`` holds GPU support.
_GPU_INCLUDED = Version("2.1")


def requirements(
    request: Request, *, gpus: bool, distributions: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the lines to install, in order, the StudioML client last.

    ``gpus``: GPUs are allocated. ``distributions``: paths of the files in ``workspace/dist``; of
    those named ``studioml-*.tar.gz`` the last one replaces the StudioML requirement, as it is
    given. Raises RequestError, naming the line.
    """
    lines = _read(request, lambda _: None)
    kept = [line for line in lines if line.name not in _PHANTOMS | {STUDIOML}]
    if gpus and not any(line.name == _TENSORFLOW_GPU for line in kept):
        kept = [_with_gpu(line) for line in kept]
    chosen = [line.text for line in _last_pins(kept, lambda _: None)]
    return tuple(dict.fromkeys(chosen + _studioml(lines, distributions)))


def requirement_warnings(request: Request) -> tuple[str, ...]:
    """Return sentences about lines that ``requirements`` had to change."""
    warnings: list[str] = []
    lines = _read(request, warnings.append)
    _last_pins([line for line in lines if line.name != STUDIOML], warnings.append)
    return tuple(warnings)


def _read(request: Request, warn: Callable[[str], None]) -> list[Line]:
    found = (read_line(text, warn) for text in request.experiment.requirements)
    return [line for line in found if line is not None]


def _studioml(lines: Iterable[Line], distributions: Sequence[str]) -> list[str]:
    archives = [path for path in distributions if _ARCHIVE.fullmatch(path.rpartition("/")[2])]
    if archives:
        return [max(archives)]
    return [line.text for line in lines if line.name == STUDIOML][-1:]


def _last_pins(lines: list[Line], warn: Callable[[str], None]) -> list[Line]:
    """Keep the last of several different pins of one package, as installing in turn would."""
    last: dict[str, Line] = {}
    for line in lines:
        if _is_plain_pin(line):
            earlier = last.get(line.name)
            if earlier is not None and earlier.text != line.text:
                warn(f"{earlier.text} is followed by {line.text}, which is installed")
            last[line.name] = line
    return [line for line in lines if not _is_plain_pin(line) or last[line.name].text == line.text]


def _is_plain_pin(line: Line) -> bool:
    found = line.requirement
    return found is not None and found.marker is None and _pin(found) is not None


def _pin(requirement: Requirement) -> str | None:
    specifiers: list[Specifier] = list(requirement.specifier)
    if len(specifiers) == 1 and specifiers[0].operator in {"==", "==="}:
        return specifiers[0].version
    return None


def _is_before_gpus(pin: str) -> bool:
    try:
        return pin != "2.*" and Version(pin.removesuffix(".*")) < _GPU_INCLUDED
    except InvalidVersion:
        return False


def _with_gpu(line: Line) -> Line:
    """Turn a pinned ``tensorflow`` of old into ``tensorflow_gpu``."""
    if line.requirement is None or line.name != _TENSORFLOW:
        return line
    pin = _pin(line.requirement)
    if pin is None or not _is_before_gpus(pin):
        return line
    text = "tensorflow_gpu" + line.text[len(line.requirement.name) :]
    changed = Requirement(text)
    return Line(text, canonicalize_name(changed.name), changed)
