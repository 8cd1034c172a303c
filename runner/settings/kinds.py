"""The kinds of values that options take: how a text becomes a value, and what is accepted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from runner.model import RETRYABLE, Bytes, Cause
from runner.request.units import parse_duration, parse_size
from runner.settings import users

_TRUE = frozenset({"true", "t", "1", "yes", "y", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "n", "off"})
#: What YAML makes of a bare ``on`` and ``off`` in the option file.
_TRUTH = {"true": "on", "false": "off"}
_ACCESS = frozenset({"ro", "rw"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value. ``read`` raises ValueError for a text that is none."""

    read: Callable[[str, Mapping[str, str]], Any]
    #: Completes "give …" in the error and describes the value in the manual.
    accepted: str
    metavar: str
    #: An empty text is a value; elsewhere an empty environment variable counts as not set.
    empty: bool = False
    #: Parts several values in one text; ``None``: white space.
    separator: str | None = ","
    #: The flag alone means ``true``.
    switch: bool = False
    #: One word may stand for several values: ``read`` returns a tuple.
    several: bool = False


@dataclass(frozen=True, slots=True)
class DiskFloor:
    """Free space below which nothing is claimed: the smaller of a share and a size."""

    share: float
    size: Bytes

    def of(self, total: Bytes) -> Bytes:
        """Return the floor of a file system of ``total`` bytes."""
        return Bytes(min(int(total * self.share), self.size))


@dataclass(frozen=True, slots=True)
class Binding:
    """A directory of the machine that runs see, and where."""

    source: Path
    target: Path
    writable: bool


def _read_flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("no truth value")
    return word in _TRUE


def _read_count(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise ValueError("no whole number")
    return int(text)


def _read_positive(text: str) -> int:
    if not (count := _read_count(text)):
        raise ValueError("zero")
    return count


def _read_duration(text: str) -> timedelta:
    if text.strip() == "0":
        return timedelta()
    duration = parse_duration(text)
    if duration < timedelta():
        raise ValueError("negative")
    return duration


def _read_period(text: str) -> timedelta:
    if (duration := _read_duration(text)) < timedelta(seconds=1):
        raise ValueError("too short for anything to happen in it")
    return duration


def _read_pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(str(error)) from error


def _read_optional_pattern(text: str) -> re.Pattern[str] | None:
    return _read_pattern(text) if text.strip() else None


def _read_path(text: str, environ: Mapping[str, str]) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("no path")
    expanded = re.sub(
        r"\$(\w+|\{\w+\})", lambda m: environ.get(m[1].strip("{}"), m[0]), text.strip()
    )
    if expanded == "~" or expanded.startswith("~/"):
        expanded = environ.get("HOME", os.path.expanduser("~")) + expanded[1:]  # noqa: PTH111 - pwd
    return Path(os.path.abspath(expanded))  # noqa: PTH100 - links stay as the operator wrote them


def _read_optional_path(text: str, environ: Mapping[str, str]) -> Path | None:
    return _read_path(text, environ) if text.strip() else None


def _read_binding(text: str, environ: Mapping[str, str]) -> Binding:
    *paths, last = text.strip().split(":")
    if last not in _ACCESS:
        paths.append(last)
        last = "ro"
    if len(paths) not in {1, 2} or not all(path.strip().startswith(("/", "~")) for path in paths):
        raise ValueError("no binding")
    source, target = _read_path(paths[0], environ), _read_path(paths[-1], environ)
    return Binding(source, target, last == "rw")


def _read_floor(text: str) -> DiskFloor:
    share, size = 1.0, Bytes(2**63)
    for part in text.split(","):
        if part.strip().endswith("%"):
            share = float(part.strip()[:-1]) / 100
        else:
            size = parse_size(part)
    if not 0 <= share <= 1:
        raise ValueError("no share of a disk")
    return DiskFloor(share, size)


def _read_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text.strip()):
        raise ValueError("no name")
    return text.strip()


def _plain(read: Callable[[str], Any]) -> Callable[[str, Mapping[str, str]], Any]:
    return lambda text, _environ: read(text)


def choice(*words: str, metavar: str = "WORD") -> Kind:
    """One of a few words, in any case."""

    def read(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            word = _TRUTH.get(word, word)
        if word not in words:
            raise ValueError("none of them")
        return word

    return Kind(_plain(read), f"one of {', '.join(words)}", metavar)


TEXT = Kind(_plain(str), "a text", "TEXT", empty=True)
#: Addresses may hold commas, but no white space.
ADDRESS = Kind(_plain(str), "an address", "URL", empty=True, separator=None)
FLAG = Kind(_plain(_read_flag), "true or false", "true|false", switch=True)
COUNT = Kind(_plain(_read_count), "a whole number such as 4", "N")
POSITIVE = Kind(_plain(_read_positive), "a whole number of at least 1", "N")
SIZE = Kind(_plain(parse_size), "a size such as 1024mb, 16gib or 512gb", "SIZE")
DURATION = Kind(_plain(_read_duration), "a duration such as 20m, 1h30m or 48h", "DURATION")
PERIOD = Kind(_plain(_read_period), "a duration of at least 1s", "DURATION")
PATTERN = Kind(_plain(_read_pattern), "a regular expression", "REGEX", empty=True)
OPTIONAL_PATTERN = Kind(_plain(_read_optional_pattern), "a regular expression", "REGEX", empty=True)
PATH = Kind(_read_path, "a path", "PATH", separator=os.pathsep)
OPTIONAL_PATH = Kind(_read_optional_path, "a path", "PATH", empty=True)
BINDING = Kind(
    _read_binding,
    "absolute paths such as /data, /data:ro or /disk/sets:/data:rw",
    "PATH[:DEST][:ro|rw]",
)
FLOOR = Kind(
    _plain(_read_floor), "a share and a size such as 5%,5gib (the smaller counts)", "SHARE,SIZE"
)
USER = Kind(
    _plain(users.read),
    "users that this machine has (useradd --system NAME makes one): NAME, NAME:GROUP, UID:GID, or "
    "a range of at most "
    f"{users.MOST}, NAME-[1-8] or UID-UID:GID",
    "USER",
    empty=True,
    several=True,
)
VARIABLE = Kind(_plain(_read_variable), "the name of an environment variable", "NAME")
_CAUSES = choice(*sorted(cause.value for cause in RETRYABLE), metavar="CAUSE")
CAUSE = replace(_CAUSES, read=lambda text, environ: Cause(_CAUSES.read(text, environ)))
LEVEL = choice("debug", "info", "warning", "error", "critical", metavar="LEVEL")
