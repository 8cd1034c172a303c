"""The variables that the installed unit starts the daemon with, as its files say."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from runner.errors import Misconfigured
from runner.service.templates import UNIT

_UNITS = "etc/systemd/system"
_COMMENTS = ("#", ";")


def of_service(root: Path = Path("/")) -> dict[str, str]:
    """Return them by name, those of the environment files last, as in systemd.exec(5).

    Raises Misconfigured where the service is not installed, or its files cannot be read.
    """
    unit = root / _UNITS / UNIT
    try:
        texts = [path.read_text(encoding="utf-8") for path in (unit, *_drop_ins(unit))]
        named = dict(pair for text in texts for pair in _of_unit(text))
        filed = [pair for text in texts for pair in _of_files(text, root)]
    except FileNotFoundError as error:
        raise Misconfigured(
            f"{error.filename} is not there: the service is set up by studio-runner install-service"
        ) from error
    except (OSError, ValueError) as error:
        raise Misconfigured(f"the options of {UNIT} cannot be read: {error}") from error
    return named | dict(filed)


def _drop_ins(unit: Path) -> list[Path]:
    return sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))


def _of_unit(text: str) -> Iterator[tuple[str, str]]:
    for assignments in _values(text, "Environment"):
        for assignment in shlex.split(assignments):
            name, _, value = assignment.partition("=")
            yield name, value


def _of_files(text: str, root: Path) -> Iterator[tuple[str, str]]:
    for named in _values(text, "EnvironmentFile"):
        path = root / named.removeprefix("-").lstrip("/")
        if not named.startswith("-") or path.exists():
            yield from _of_file(path.read_text(encoding="utf-8"))


def _of_file(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, is_one, value = line.strip().partition("=")
        if is_one and not name.startswith(_COMMENTS):
            yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


def _values(text: str, key: str) -> Iterator[str]:
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name == key:
            yield value.strip()
