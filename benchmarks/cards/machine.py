"""A daemon of a benchmark's own on a machine with cards, and how long it is waited for."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cards import scripts
from tests.acceptance.box import Box

GIB = 1 << 30
HELD = GIB
_LINES = 12


class Missing(Exception):
    """What is needed is not there, or did not come in time; a sentence."""


@dataclass(frozen=True)
class Machine:
    """Where it happens."""

    box: Box
    #: Requirements of the experiments, and directories of packages that are there already.
    requirements: Sequence[str]
    packages: Sequence[str]
    #: Seconds that one experiment may take.
    patience: float

    @property
    def has_torch(self) -> bool:
        """Experiments compute with PyTorch, not with the driver's library alone."""
        return bool(self.requirements or self.packages)

    def submit(self, script: str, needs: Mapping[str, object]) -> str:
        """Queue an experiment when nothing is left of the one before; return its key."""
        try:
            self.box.wait_until_clean()  # what it said would be taken for this one's
        except AssertionError as error:
            raise Missing(f"something is left of the experiment before: {error}") from error
        mark = str(self.box.root / "killed-once")
        text = script.format(packages=list(self.packages), held=HELD, mark=mark)
        requirements = list(self.requirements) if "import torch" in script else []
        return self.box.submit(text, resources_needed=dict(needs), pythonenv=requirements)

    def said(self, key: str, word: str) -> str:
        """Wait until the experiment has said a word, and return the rest of the line.

        Raises Missing where it ends without it, or takes too long.
        """
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            if match := _line(word, self.box.live_output()):
                return match
            if any(one["key"] == key for one in self.box.settled()):
                raise Missing(f"the experiment ended and had not said {word}; {self.trouble(key)}")
            time.sleep(0.02)
        raise Missing(f"no {word} of the experiment in {self.patience:g} s; {self.trouble(key)}")

    def told(self, key: str, word: str) -> str:
        """Return the rest of a line that an experiment which has ended said. Raises Missing."""
        if match := _line(word, self.box.output(key)):
            return match
        raise Missing(f"the experiment never said {word}; {self.trouble(key)}")

    def outcome(self, key: str) -> dict[str, Any]:
        """Wait for the experiment's end. Raises Missing."""
        with suppress(AssertionError):
            return self.box.outcome(key, self.patience)
        raise Missing(f"no end of the experiment in {self.patience:g} s; {self.trouble(key)}")

    def trouble(self, key: str) -> str:
        """Return what there is to be read about an experiment, in one line."""
        ends = [f"{one['cause']}: {one.get('detail')}" for one in self.box.settled()]
        output = self.box.live_output()
        with suppress(OSError, KeyError):
            output = self.box.output(key)
        lines = output.splitlines()[-_LINES:] or self.box.log().splitlines()[-_LINES:]
        return " / ".join([*ends, *lines])

    def kill_runs(self) -> int:
        """Send SIGKILL to the supervisors and all that runs below; return how many those are."""
        killed = 0
        for pid in self.box.processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if not any(
                    word in words for word in (b"\0runner\0", b"nvml/main.py", b"forkserver")
                ):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        return killed


def saw(line: str) -> dict[str, Any]:
    """Read what ``scripts.LOOK`` says."""
    return dict(json.loads(line))


def _line(word: str, text: str) -> str | None:
    match = re.search(rf"^{word} (.*)$", text, re.MULTILINE)
    return match[1] if match else None


__all__ = ["GIB", "HELD", "Machine", "Missing", "saw", "scripts"]
