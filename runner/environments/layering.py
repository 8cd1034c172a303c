"""A base environment: packages that this machine already has, beneath those of every experiment."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.errors import Misconfigured

_PATIENCE = 60.0
#: Runs with ``site``: what the base's own ``.pth`` files add belongs to it.
_PROBE = """\
import importlib.metadata, json, os, site, sys
names = {}
for one in importlib.metadata.distributions():
    names[(one.metadata["Name"] or "").lower().replace("_", "-")] = one.version
print(json.dumps({
    "python": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "folders": [folder for folder in site.getsitepackages() if os.path.isdir(folder)],
    "packages": sorted("%s==%s" % pair for pair in names.items()),
}))
"""
_ADDED = re.compile(r"^ \+ (?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: \(from (?P<url>.+)\))?$")


@dataclass(frozen=True, slots=True)
class Base:
    """What the operator's ``--base-environment`` brings."""

    #: Its own interpreter: the installer asks it what is there.
    python: Path
    #: The interpreter that environments over it are built for.
    interpreter: Path
    #: Directories of packages.
    folders: tuple[str, ...]
    packages: tuple[str, ...]


def look(prefix: Path) -> Base:
    """Ask the environment at ``prefix`` what it has; blocks. Raises Misconfigured."""
    python = next((path for path in _pythons(prefix) if path.exists()), None)
    if python is None:
        raise Misconfigured(f"--base-environment {prefix} has no bin/python")
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
            cwd="/",
            env={},
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Misconfigured(f"--base-environment {prefix}: {python} does not run") from error
    return Base(
        python, Path(found["python"]), tuple(found["folders"]), tuple(sorted(found["packages"]))
    )


def _pythons(prefix: Path) -> Iterable[Path]:
    if prefix.is_file():
        yield prefix
    yield prefix / "bin" / "python"
    yield prefix / "bin" / "python3"


def added(text: str) -> list[str]:
    """Return the requirement lines of what an installer's dry run would add. Pure."""
    lines = []
    for line in text.splitlines():
        found = _ADDED.match(line.rstrip())
        if found is None:
            continue
        if found["url"]:
            lines.append(f"{found['name']} @ {found['url']}")
        else:
            lines.append(f"{found['name']}=={found['version']}")
    return lines
