"""Has wheels and source distributions know which commit they were built from; run by hatchling.

``runner/revision.py`` says how that is read. Nothing is written into the tree, whose own commit may
be another one tomorrow.
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PATIENCE = 60.0


class CommitHook(BuildHookInterface[Any]):
    """Adds ``runner/commit.txt`` where it is missing; a release and an sdist have it already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it. What is installed to be edited looks at its tree each time."""
        # The project is not to be imported here; this module of it imports nothing else.
        revision = runpy.run_path(str(Path(self.root, "runner", "revision.py")))
        file = Path("runner", revision["FILE"])
        commit = revision["of_tree"](Path(self.root))
        if version == "editable" or Path(self.root, file).exists() or not commit:
            return
        self._place = tempfile.TemporaryDirectory()
        made = Path(self._place.name, file.name)
        more = _changes(self.root)
        word = f"-{revision['TREE']}" if more is None else "-dirty" if more else ""
        made.write_text(f"{commit}{word}\n", encoding="ascii")
        made.chmod(0o644)
        build_data["force_include"][str(made)] = file.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was only there to be added."""
        del version, build_data, artifact_path
        if hasattr(self, "_place"):
            self._place.cleanup()


def _changes(root: str) -> bool | None:
    """Tell whether there is more than the commit; ``None``: git is not there, or will not say."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", root, "status", "--porcelain"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else bool(done.stdout)
