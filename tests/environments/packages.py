"""Small packages written by hand, so that environments can be built without any index."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str] | None = None,
    requires: tuple[str, ...] = (),
    commands: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Path:
    """Write a wheel. Its module says ``VERSION``; ``data`` files go below ``share`` and such."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    contents = {f"{module}/__init__.py": f"VERSION = {version!r}\n", **(files or {})}
    contents |= {
        f"{module}-{version}.data/data/{path}": text for path, text in (data or {}).items()
    }
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    contents[f"{info}/METADATA"] = metadata
    contents[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    if commands:
        lines = [f"{command} = {target}\n" for command, target in commands.items()]
        contents[f"{info}/entry_points.txt"] = "[console_scripts]\n" + "".join(lines)
    listed = [f"{path},,\n" for path in (*contents, f"{info}/RECORD")]
    contents[f"{info}/RECORD"] = "".join(listed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in contents.items():
            archive.writestr(member, text)
    return path


#: A build backend in one file: source distributions need nothing from an index.
_BACKEND = """\
import base64, hashlib, os, sys, zipfile

def _wheel(folder, contents):
    name = "{module}-{version}-py3-none-any.whl"
    info = "{module}-{version}.dist-info"
    contents[info + "/METADATA"] = "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
    contents[info + "/WHEEL"] = (
        "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    contents[info + "/RECORD"] = "".join(path + ",,\\n" for path in [*contents, info + "/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return name

def build_wheel(folder, config_settings=None, metadata_directory=None):
{code}
    module = "VERSION = '{version}'\\nBY = %r" % os.getuid()
    return _wheel(folder, {{"{module}/__init__.py": module}})

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _wheel(folder, {{"{module}-editable.pth": os.getcwd() + "/src\\n"}})
"""
_PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "{name}"
version = "{version}"
"""


def source_files(name: str, version: str, code: str) -> dict[str, str]:
    """Return the files of a source tree whose build runs ``code``."""
    module = name.replace("-", "_")
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    facts = {"name": name, "module": module, "version": version}
    return {
        "pyproject.toml": _PYPROJECT.format(**facts),
        "backend.py": _BACKEND.format(**facts, code=indented or "    pass"),
        f"src/{module}/__init__.py": f"VERSION = {version!r}\n",
    }


def source(folder: Path, name: str, version: str = "1.0", *, code: str = "pass") -> Path:
    """Write a source distribution whose build runs ``code``."""
    top = f"{name.replace('-', '_')}-{version}"
    files = source_files(name, version, code)
    files["PKG-INFO"] = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{top}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            entry = tarfile.TarInfo(f"{top}/{member}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def checkout(folder: Path, name: str, version: str = "1.0", *, code: str = "pass") -> Path:
    """Write a source tree that can be installed as editable."""
    for member, text in source_files(name, version, code).items():
        path = folder / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
