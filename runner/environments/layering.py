"""A base environment: packages that this machine already has, beneath those of every experiment."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runner.environments import venv
from runner.environments.interpreters import Interpreter
from runner.errors import Misconfigured

_PATIENCE = 60.0
#: Runs with ``site``: what the base's own ``.pth`` files add belongs to it.
_PROBE = """\
import importlib.metadata, json, os, site, sys
names, records = {}, []
for one in importlib.metadata.distributions():
    name = (one.metadata["Name"] or "").lower().replace("_", "-")
    if name and name not in names:
        names[name] = one.version
        records.append(str(one._path))
print(json.dumps({
    "python": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "folders": [folder for folder in site.getsitepackages() if os.path.isdir(folder)],
    "records": records,
    "packages": sorted("%s==%s" % pair for pair in names.items()),
}))
"""
_METADATA = ("METADATA", "PKG-INFO", "WHEEL", "RECORD", "direct_url.json")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,200}")
_ADDED = re.compile(r"^ \+ (?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: \(from (?P<url>.+)\))?$")


@dataclass(frozen=True, slots=True)
class Base:
    """What the operator's ``--base-environment`` brings."""

    #: The interpreter that environments over it are built for.
    interpreter: Path
    #: Directories of packages.
    folders: tuple[str, ...]
    packages: tuple[str, ...]
    #: Where each package's metadata lies.
    records: tuple[str, ...]
    #: Where nobody here can look, as in a container image: names, versions, what they require.
    described: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


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
        Path(found["python"]),
        tuple(found["folders"]),
        tuple(sorted(found["packages"])),
        tuple(found["records"]),
    )


def _pythons(prefix: Path) -> Iterable[Path]:
    if prefix.is_file():
        yield prefix
    yield prefix / "bin" / "python"
    yield prefix / "bin" / "python3"


def stand_in(base: Base, interpreter: Interpreter, root: Path) -> Path:
    """Make a virtual environment at ``root`` that has the base's metadata; return its Python.

    The installer looks into one directory alone and would miss what lies behind ``.pth`` files; and
    it writes a lock file into what it looks at.
    """
    packages = venv.make(root, interpreter)
    for name, version, requires in base.described:
        _describe(packages, name, version, requires)
    for record in map(Path, base.records):
        folder = packages / record.name
        if not record.is_dir():
            folder.symlink_to(record)
            continue
        folder.mkdir(exist_ok=True)
        for name in _METADATA:
            if (record / name).exists():
                (folder / name).symlink_to(record / name)
    return root / "bin" / "python"


def _describe(packages: Path, name: str, version: str, requires: Iterable[str]) -> None:
    """Write what an installer reads of a package that is there."""
    folder = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    if not _SAFE.fullmatch(folder.name):  # an image may call its packages what it likes
        return
    folder.mkdir(exist_ok=True)
    lines = [f"Requires-Dist: {' '.join(one.split())}\n" for one in requires]
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text("".join((head, *lines)))
    (folder / "RECORD").touch()


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
