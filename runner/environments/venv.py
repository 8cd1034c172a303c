"""The few files that make a directory a virtual environment."""

from __future__ import annotations

import os
from pathlib import Path

from runner.environments.interpreters import Interpreter


def make(root: Path, interpreter: Interpreter, *, frugal: bool = False) -> Path:
    """Make ``root`` an empty virtual environment; return its directory of packages.

    A ``frugal`` one has few files and several names for one; what is to be sealed must have none.
    """
    packages = site_packages(root, interpreter)
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "lib64").symlink_to("lib")
    python = root / "bin" / "python"
    python.symlink_to(interpreter.path)
    for name in ("python3", interpreter.short):
        if frugal:
            same(python, root / "bin" / name)
        else:
            (root / "bin" / name).symlink_to(python.name)
    (root / "pyvenv.cfg").write_text(
        f"home = {interpreter.path.parent}\n"
        "include-system-site-packages = false\n"
        f"version = {interpreter.version}\n"
        f"executable = {interpreter.path}\n"
    )
    return packages


def same(path: Path, other: Path) -> None:
    """Have ``other`` be a further name of the file or link ``path``: it costs the disk no inode.

    Where there are no such names, it becomes a link to it.
    """
    try:
        os.link(path, other, follow_symlinks=False)
    except OSError:
        other.symlink_to(path.name)


def site_packages(root: Path, interpreter: Interpreter) -> Path:
    """Return where the packages of a virtual environment lie."""
    return root / "lib" / interpreter.short / "site-packages"
