"""The few files that make a directory a virtual environment."""

from __future__ import annotations

from pathlib import Path

from runner.environments.interpreters import Interpreter


def make(root: Path, interpreter: Interpreter) -> Path:
    """Make ``root`` an empty virtual environment; return its directory of packages."""
    packages = site_packages(root, interpreter)
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "lib64").symlink_to("lib")
    (root / "bin" / "python").symlink_to(interpreter.path)
    for name in ("python3", interpreter.short):
        (root / "bin" / name).symlink_to("python")
    (root / "pyvenv.cfg").write_text(
        f"home = {interpreter.path.parent}\n"
        "include-system-site-packages = false\n"
        f"version = {interpreter.version}\n"
        f"executable = {interpreter.path}\n"
    )
    return packages


def site_packages(root: Path, interpreter: Interpreter) -> Path:
    """Return where the packages of a virtual environment lie."""
    return root / "lib" / interpreter.short / "site-packages"
