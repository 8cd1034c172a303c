"""Where the Python interpreters of a machine may lie."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"python(3(\.\d+)?)?")
#: A directory that was changed less than so many seconds ago may change within the same stamp.
_SETTLED = 2.0


class Programs:
    """Programs that may be interpreters; of what did not change since the last look none is read.

    Resolving and opening what lies in ``PATH`` takes some ten milliseconds, and every experiment
    asks.
    """

    def __init__(self, downloads: Path) -> None:
        """Look also at what uv put into ``downloads``."""
        self._downloads = downloads
        #: By directory: its time of change, and what was in it.
        self._known: dict[Path, tuple[int, list[Path]]] = {}

    def find(self, environ: Mapping[str, str], home: Path) -> list[Path]:
        """Return them, each once, links resolved; blocks.

        Looks in ``PATH``, the system's directories, pyenv, conda, the downloads and uv's own.
        """
        paths: dict[Path, None] = {Path(sys.executable).resolve(): None}
        for folder in (*_folders(environ, home), *self._downloads.glob("*/bin")):
            for path in self._pythons_in(folder):
                paths[path] = None
        return list(paths)

    def _pythons_in(self, folder: Path) -> list[Path]:
        try:
            stamp = folder.stat().st_mtime_ns
            known, paths = self._known.get(folder, (None, []))
            # Links of the directory lead elsewhere, where something may be gone.
            if known == stamp and all(path.exists() for path in paths):
                return paths
            paths = list(_pythons_in(folder))
        except OSError:
            return []
        if time.time() - stamp / 1e9 > _SETTLED:
            self._known[folder] = stamp, paths
        return paths


def _folders(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    for entry in environ.get("PATH", "").split(os.pathsep):
        if entry.startswith("/"):
            yield Path(entry)
    yield Path("/usr/bin")
    yield Path("/usr/local/bin")
    yield from Path("/opt").glob("*/bin")
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from pyenv.glob("versions/*/bin")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield from data.glob("uv/python/*/bin")
    for root in _conda_roots(environ, home):
        yield root / "bin"
        yield from root.glob("envs/*/bin")


def _conda_roots(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    if environ.get("CONDA_EXE"):
        yield Path(environ["CONDA_EXE"]).parent.parent
    if environ.get("CONDA_PREFIX"):
        yield Path(environ["CONDA_PREFIX"])
    names = ("conda", "miniconda3", "anaconda3", "miniforge3", "mambaforge")
    for parent in (home, Path("/opt")):
        yield from (parent / name for name in names)


def _pythons_in(folder: Path) -> Iterator[Path]:
    names = [name for name in os.listdir(folder) if _NAME.fullmatch(name)]  # noqa: PTH208 - thousands
    for name in names:
        path = (folder / name).resolve()
        if _is_program(path) and not _in_virtualenv(path):
            yield path


def _is_program(path: Path) -> bool:
    """Tell a binary from pyenv's shims and other scripts, which are no interpreters."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _in_virtualenv(path: Path) -> bool:
    return (path.parent.parent / "pyvenv.cfg").exists()
