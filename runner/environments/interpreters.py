"""Finds the Python interpreters of this machine and chooses one by the beginning of its version."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict, cast

import msgspec

from runner import log, own_files
from runner.environments.programs import Programs
from runner.errors import BadField, PythonMissing
from runner.model import Identity

_log = log.get_logger(__name__)

#: Older ones can neither be probed nor built for.
OLDEST = (3, 8)
_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_PATIENCE = 20.0
_AT_ONCE = 4

#: Run once by every candidate, alone, so it speaks the Python of all of them.
PROBE = """\
import json, os, sys, sysconfig
version = "%d.%d.%d" % tuple(sys.version_info[:3])
folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or ""
if not folder:
    folder = os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled")
wheels = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
pips = [os.path.join(folder, name) for name in wheels if name.startswith("pip-")]
print(json.dumps({
    "version": version,
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform(),
    "abi": sysconfig.get_config_var("SOABI") or "",
    "libc": os.confstr("CS_GNU_LIBC_VERSION") or "",
    "pip": pips[-1] if pips else "",
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that environments are built for; never one inside a virtual environment."""

    path: Path
    #: ``3.11.7``
    version: str
    implementation: str
    platform: str
    abi: str
    libc: str
    #: The installer wheel that it carries for ``ensurepip``, if any.
    pip: str = ""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version, to be compared."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def short(self) -> str:
        """``python3.11``, the name of its library directory."""
        return "python" + ".".join(self.version.split(".")[:2])

    def fingerprint(self) -> list[str]:
        """Return what makes an environment built for another interpreter useless to this one."""
        return [
            str(self.path),
            self.implementation,
            self.version,
            self.platform,
            self.abi,
            self.libc,
        ]


def choose(wanted: str, found: Iterable[Interpreter], default: str) -> Interpreter:
    """Return the newest interpreter whose version begins as ``wanted`` says. Pure.

    ``default`` is the version that is taken when it fits. Raises PythonMissing with what there is,
    BadField for a text that is no version.
    """
    asked = wanted.strip()
    _check(asked)
    usable = [one for one in found if one.numbers >= OLDEST]
    fitting = [one for one in usable if begins(one.version, asked)]
    preferred = [one for one in fitting if default and begins(one.version, default)]
    if preferred or fitting:
        return max(preferred or fitting, key=lambda one: one.numbers)
    listed = ", ".join(sorted({one.version for one in usable}, key=_sortable)) or "none"
    raise PythonMissing(f"Python {asked or default} is not on this machine; there is: {listed}")


def is_supported(asked: str) -> bool:
    """Tell whether an interpreter of such a version could be used, if there were one."""
    try:
        _check(asked)
    except (BadField, PythonMissing):
        return False
    return True


def _check(asked: str) -> None:
    if not asked:
        return
    if not _VERSION.fullmatch(asked):
        raise BadField("experiment.pythonver", asked, "write a version such as 3.11")
    numbers = _sortable(asked)
    if numbers[0] < OLDEST[0]:
        raise PythonMissing(
            f"Python {asked} is not supported: port the experiment to Python 3, or run it in a "
            "container that brings its own"
        )
    if len(numbers) > 1 and numbers[:2] < OLDEST:
        oldest = ".".join(str(number) for number in OLDEST)
        raise PythonMissing(f"Python {asked} is too old: {oldest} is the first that is supported")


def begins(version: str, prefix: str) -> bool:
    """Tell whether a version is one of those that ``prefix`` stands for: 3.1 is not 3.11."""
    parts = prefix.split(".") if prefix else []
    return version.split(".")[: len(parts)] == parts


def _sortable(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class _Described(TypedDict):
    """What is remembered of one."""

    path: str
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)+$")]
    implementation: str
    platform: str
    abi: str
    libc: str
    pip: NotRequired[str]


class Interpreters:
    """The interpreters of this machine, each asked once; the answers are kept in a file."""

    def __init__(self, memory: Path, identity: Identity | None, downloads: Path) -> None:
        """Ask as ``identity``: one that it cannot run is as good as none."""
        self._memory = memory
        self._identity = identity
        self._programs = Programs(downloads)
        self._looking = threading.Lock()
        #: What was told in this process, also by one that ``find`` does not come upon.
        self._told: dict[str, dict[str, str]] = {}

    def find(self) -> list[Interpreter]:
        """Look at the machine as it is now; blocks, also for another look that is under way."""
        with self._looking:
            return self._find()

    def _find(self) -> list[Interpreter]:
        known = self._recall()
        stamps = {self._stamp(path): path for path in self._programs.find(os.environ, Path.home())}
        unknown = [stamp for stamp in stamps if stamp not in known]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(self.ask, (stamps[stamp] for stamp in unknown))
            told = (describe(one) if one else None for one in found)
            known |= dict(zip(unknown, told, strict=True))
        answers = {stamp: known[stamp] for stamp in stamps}
        if unknown:
            self._remember(answers)
        return [_interpreter(answer) for answer in answers.values() if answer]

    def ask(self, path: Path) -> Interpreter | None:
        """Return what ``path`` says of itself, asked once; None when it is none that runs."""
        place = path.resolve()
        try:
            stamp = self._stamp(place)
        except OSError:
            return None
        answer = self._told.get(stamp) or self._answer(place)
        if answer is None:  # perhaps it was only too slow this time
            return None
        self._told[stamp] = answer
        return _interpreter(answer)

    def _stamp(self, path: Path) -> str:
        found = path.stat()
        user = self._identity.uid if self._identity else os.getuid()
        return f"{path} {found.st_size} {found.st_mtime_ns} {user}"

    def _answer(self, path: Path) -> dict[str, str] | None:
        user = (
            {"user": self._identity.uid, "group": self._identity.gid, "extra_groups": ()}
            if self._identity
            else {}
        )
        try:
            done = subprocess.run(  # type: ignore[call-overload]  # the user is optional
                [str(path), "-I", "-S", "-c", PROBE],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=True,
                cwd="/",
                env={},
                **user,
            )
            answer = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        if answer["implementation"] != "cpython":
            return None
        return {"path": str(path), **answer}

    def _recall(self) -> dict[str, dict[str, str] | None]:
        try:
            known = own_files.read_as(self._memory, dict[str, _Described | None])
            return cast("dict[str, dict[str, str] | None]", known)
        except (OSError, ValueError):
            return {}

    def _remember(self, answers: Mapping[str, dict[str, str] | None]) -> None:
        new = self._memory.with_suffix(".new")
        try:
            new.write_text(json.dumps(answers))
            new.replace(self._memory)
        except OSError as error:  # they are asked again next time
            _log.warning("not remembered", file=str(self._memory), trouble=str(error))


def _interpreter(answer: Mapping[str, str]) -> Interpreter:
    return Interpreter(**{**answer, "path": Path(answer["path"])})  # type: ignore[arg-type]


def describe(interpreter: Interpreter) -> dict[str, str]:
    """Return an interpreter as plain data, for a manifest."""
    return {**asdict(interpreter), "path": str(interpreter.path)}


def restore(described: Mapping[str, str]) -> Interpreter:
    """Return the interpreter that ``describe`` wrote."""
    return _interpreter(described)
