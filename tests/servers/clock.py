"""A machine's clock that somebody sets: a preloaded library moves what processes take for the date.

clock = Clock(directory)          # compiles it; tests that use it are marked service("nvml"),
box.start(variables=clock.variables)                                    # which is a compiler
clock.move(3600)                  # an hour later, for everybody who has it, from the next look
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


class Clock:
    """What differs from the real date, in whole seconds; monotonic clocks are left alone."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self._library = directory / "clock.so"
        source = Path(__file__).with_name("clock_stub.c")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([*command, "-o", str(self._library), str(source), "-ldl"], check=True)
        self.move(0)

    @property
    def variables(self) -> Mapping[str, str]:
        """Return what a process needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_STUB": str(self._file)}

    def move(self, seconds: int) -> None:
        """Set the date so far from the real one."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds}\n")
        draft.replace(self._file)
