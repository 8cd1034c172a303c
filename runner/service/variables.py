"""How systemd starts the daemon: the variables and the options that the installed unit gives it."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import Misconfigured
from runner.service.templates import UNIT

_UNITS = "etc/systemd/system"
#: Where drop-ins lie, those that win last: a file hides one of its name in a place before.
_PLACES = ("usr/lib/systemd/system", "usr/local/lib/systemd/system", "run/systemd/system", _UNITS)
_COMMENTS = ("#", ";")
#: What systemd gives to every service.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Of whoever asks: how their terminal draws, and nothing that a daemon would heed.
_TERMINAL = re.compile(r"TERM|COLORTERM|NO_COLOR|FORCE_COLOR|COLUMNS|LINES|LANG|LC_[A-Z]+")
_QUOTED = re.compile(r"""'([^']*)|"((?:[^"\\]|\\.)*)""")
_CONTINUED = re.compile(r"\\\n")


@dataclass(frozen=True, slots=True)
class Service:
    """What the unit, its drop-ins and its environment files say."""

    #: By name, those of the environment files last, as in systemd.exec(5).
    variables: Mapping[str, str]
    #: Of the command line, behind ``run``.
    options: tuple[str, ...]

    def environment(self, shell: Mapping[str, str]) -> dict[str, str]:
        """Return the daemon's environment, for a command on the terminal of ``shell``."""
        drawing = {name: value for name, value in shell.items() if _TERMINAL.fullmatch(name)}
        return {**drawing, "PATH": _PATH, **self.variables}


def of_service(root: Path = Path("/")) -> Service:
    """Read what is installed below ``root``.

    Raises Misconfigured where the service is not installed, or its files cannot be read.
    """
    unit = root / _UNITS / UNIT
    try:
        texts = [path.read_text(encoding="utf-8") for path in (unit, *_drop_ins(root))]
        named = dict(_of_units(texts))
        filed = dict(_of_files(texts, root))
        options = _options(texts)
    except FileNotFoundError as error:
        raise Misconfigured(
            f"{error.filename} is not there: the service is set up by studio-runner install-service"
        ) from error
    except PermissionError as error:
        raise Misconfigured(
            f"{error.filename} cannot be read by this user: say it again with sudo"
        ) from error
    except (OSError, ValueError) as error:
        raise Misconfigured(f"the options of {UNIT} cannot be read: {error}") from error
    return Service(named | filed, options)


def _drop_ins(root: Path) -> list[Path]:
    found: dict[str, Path] = {}
    for place in _PLACES:
        found |= {path.name: path for path in (root / place / f"{UNIT}.d").glob("*.conf")}
    return [path for _, path in sorted(found.items())]


def _of_units(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for assignments in _values(texts, "Environment"):
        for assignment in shlex.split(assignments):
            name, is_one, value = assignment.partition("=")
            if is_one:
                yield name, value.replace("%%", "%")


def _of_files(texts: Iterable[str], root: Path) -> Iterator[tuple[str, str]]:
    for named in _values(texts, "EnvironmentFile"):
        pattern = named.removeprefix("-")
        found = sorted(glob.glob(pattern.lstrip("/"), root_dir=root))  # noqa: PTH207 - absolute
        if not found and not named.startswith("-"):
            raise FileNotFoundError(2, "no such file", pattern)
        for path in found:
            yield from _of_file((root / path).read_text(encoding="utf-8"))


def _of_file(text: str) -> Iterator[tuple[str, str]]:
    for line in _CONTINUED.sub("", text).splitlines():
        name, is_one, value = line.strip().partition("=")
        if is_one and not name.startswith(_COMMENTS):
            yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    """Read a value as systemd reads one: quotes count where it begins, backslashes do outside '."""
    found = _QUOTED.match(value)
    if found is None:
        return re.sub(r"\\(.)", r"\1", value)
    literal, escaped = found.groups()
    return str(literal) if escaped is None else re.sub(r'\\(["\\`$])', r"\1", escaped)


def _options(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what follows ``run`` in the last command."""
    commands = _values(texts, "ExecStart")
    words = shlex.split(commands[-1]) if commands else []
    behind = words[words.index("run") + 1 :] if "run" in words else []
    return tuple(word.replace("%%", "%").replace("$$", "$") for word in behind)


def _values(texts: Iterable[str], key: str) -> list[str]:
    """Return what is assigned to a key; an empty assignment takes back those before."""
    found: list[str] = []
    for text in texts:
        for line in _CONTINUED.sub(" ", text).splitlines():
            name, _, value = line.strip().partition("=")
            if name.strip() == key:
                found = [*found, value.strip()] if value.strip() else []
    return found
